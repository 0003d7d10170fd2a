/** Messages on their way to one reader: an async iterator over a queue with a bound. */

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/** Counted for a message beside its frame: an empty one costs memory too. */
const OVERHEAD = 256;

export class Inbox<T> {
  #items: ({ item: T; size: number } | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  #waiters: Waiter<T>[] = [];
  #end: { error?: unknown } | undefined;
  readonly #bound: number;

  /** `bound`: bytes that may wait. */
  constructor(bound: number) {
    this.#bound = bound;
  }

  /** Put a message; false, and nothing is put, where as much as may wait does so already. */
  put(item: T, size: number): boolean {
    if (this.#end) return true;
    const waiter = this.#waiters.shift();
    if (waiter) {
      waiter.resolve({ value: item, done: false });
      return true;
    }
    if (this.#bytes > this.#bound) return false;
    this.#items.push({ item, size });
    this.#bytes += size + OVERHEAD;
    return true;
  }

  /** No more will come: what waits can still be taken, then the error is thrown once. */
  end(error?: unknown): void {
    if (this.#end) return;
    this.#end = error === undefined ? {} : { error };
    for (const waiter of this.#waiters.splice(0)) this.next().then(waiter.resolve, waiter.reject);
  }

  /** Drop what waits, and end. */
  clear(): void {
    this.#items = [];
    this.#head = this.#bytes = 0;
    this.#end = {};
    for (const waiter of this.#waiters.splice(0)) waiter.resolve({ value: undefined, done: true });
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const next = this.#items[this.#head];
    if (next) {
      this.#items[this.#head] = undefined; // or it would be kept
      this.#head += 1;
      if (this.#head > 1000 && this.#head * 2 > this.#items.length) {
        this.#items = this.#items.slice(this.#head);
        this.#head = 0;
      }
      this.#bytes -= next.size + OVERHEAD;
      return Promise.resolve({ value: next.item, done: false });
    }
    if (this.#end && "error" in this.#end) {
      const { error } = this.#end;
      this.#end = {};
      return Promise.reject(error);
    }
    if (this.#end) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }
}
