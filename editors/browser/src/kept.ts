/** What this tab keeps over a reload, and no longer than it is open. Where the browser keeps nothing, nothing is. */

export function kept(name: string): string | undefined {
  try {
    return sessionStorage.getItem(`nrepl-py ${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

/** undefined: forget it. */
export function keep(name: string, value: string | undefined): void {
  try {
    if (value === undefined) sessionStorage.removeItem(`nrepl-py ${name}`);
    else sessionStorage.setItem(`nrepl-py ${name}`, value);
  } catch {
    // then a reload asks for the token
  }
}
