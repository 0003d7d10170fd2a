/** When to try again to connect: soon, then more and more rarely, then not at all. */

export interface RetryOptions {
  /** Seconds until the second attempt, at most; the first is made at once. Doubled for each further one. Default 0.2. */
  first?: number;
  /** Seconds between attempts, at most. Default 10. */
  most?: number;
  /** Seconds waited altogether until the client gives up. Time asleep does not count. Default 300. */
  total?: number;
}

export class Retry {
  readonly #first: number;
  readonly #most: number;
  readonly #total: number;
  readonly #random: () => number;
  #attempts = 0;
  #waited = 0;

  constructor(options: RetryOptions, random: () => number = Math.random) {
    this.#first = options.first ?? 0.2;
    this.#most = options.most ?? 10;
    this.#total = options.total ?? 300;
    this.#random = random;
  }

  /** Seconds until the next attempt; undefined: give up. Half of it is chance, so that clients of one server do not come all at once. */
  next(): number | undefined {
    if (this.#attempts++ === 0) return this.#total > 0 ? 0 : undefined;
    if (this.#waited >= this.#total) return undefined;
    const bound = Math.min(this.#first * 2 ** (this.#attempts - 2), this.#most);
    const wait = bound * (0.5 + this.#random() / 2);
    this.#waited += wait;
    return wait;
  }

  /** It is connected: begin anew when that is lost. */
  reset(): void {
    this.#attempts = this.#waited = 0;
  }
}
