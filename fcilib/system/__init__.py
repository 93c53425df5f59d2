"""The machine a process runs on: its cores, its allocator, its threads, its network."""
