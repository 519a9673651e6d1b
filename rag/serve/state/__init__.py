"""What a server keeps: conversations, runs, records of uploads; in SQLite or PostgreSQL."""
