/** All tests of the extension host, in the order in which they run: each goes on with the server that the first one starts. */
import "./scripts.test";
import "./sessions.test";
import "./notebooks.test";

export { run } from "./testing";
