"""Files that a stranger may send: generators of hostile inputs, and what must happen to each."""
