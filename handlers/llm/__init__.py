"""Language models: a turn of a chat, and who answers in it."""
