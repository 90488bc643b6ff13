"""What a listener notices of each fault, when the nano model has it."""
