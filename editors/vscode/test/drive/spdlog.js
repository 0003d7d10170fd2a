/**
 * What VS Code writes its logs and output channels with, in JavaScript: its own module is native, and takes a compiler and
 * half a minute to build.
 */
const { appendFileSync, mkdirSync } = require("node:fs");
const { dirname } = require("node:path");

class Logger {
  #write;
  #formatted = true;

  constructor(file) {
    mkdirSync(dirname(file), { recursive: true });
    this.#write = (level, text) =>
      appendFileSync(file, this.#formatted ? `${new Date().toISOString()} [${level}] ${text}\n` : text);
    for (const level of ["trace", "debug", "info", "warn", "error", "critical"])
      this[level] = (text) => this.#write(level, text);
  }

  clearFormatters() {
    this.#formatted = false;
  }

  setPattern() {}
  setLevel() {}
  flush() {}
  drop() {}
}

const create = async (_name, file) => new Logger(file);

exports.createRotatingLogger = create; // one by one, as imports of a module of this kind find them
exports.createAsyncRotatingLogger = create;
exports.setLevel = () => {};
exports.setFlushOn = () => {};
