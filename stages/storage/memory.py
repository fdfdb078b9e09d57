"""Tell a lack of memory from what else goes wrong: no file is to blame for it."""

NO_MEMORY = ("out of memory", "can't allocate memory", "Cannot allocate memory", "not enough memory", "bad_alloc",
             "_ALLOC_FAILED", "Failed to launch worker thread")  # fmt: skip


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out; most libraries have no class for it."""
    kinds = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return kinds or any(word in str(error) for word in NO_MEMORY)
