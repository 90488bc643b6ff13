"""What a listener says of the nano checkpoint: measures that each answer one question, and the table of choices."""
