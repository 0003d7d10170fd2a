"""Reports that compare us with a peer in the same run; never tests, and nothing asserts on them."""
