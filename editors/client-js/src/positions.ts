/** Positions in text: JavaScript counts UTF-16 units, the protocol code points. */

/** How many code points there are before this offset. */
export function codePoints(text: string, offset: number): number {
  let count = 0;
  for (let at = 0; at < Math.min(offset, text.length); at += text.codePointAt(at)! > 0xffff ? 2 : 1) count += 1;
  return count;
}

/** The offset at which that many code points have passed. */
export function offsetOf(text: string, count: number): number {
  let at = 0;
  for (let left = count; left > 0 && at < text.length; left -= 1) at += text.codePointAt(at)! > 0xffff ? 2 : 1;
  return at;
}
