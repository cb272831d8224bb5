"""A dialect: the routes, shapes and names of Vercel's AI SDK, over the same rows."""
