"""OpenAI's Conversations and Responses: a dialect, which has its shapes, names and errors."""
