"""How rows are reached: connections, transactions, prepared queries. It knows no table."""
