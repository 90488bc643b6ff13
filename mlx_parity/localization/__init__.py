"""Which module is at fault: each runs on the reference's own inputs (`isolate`) and is judged by itself (`blame`)."""
