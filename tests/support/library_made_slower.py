"""A toy library in one file, and the same with a function that takes twice as long: for tests that compare commits."""

LIBRARY = """
def add(numbers):
    total = 0
    for number in numbers:
        total += number
    return total
"""
SLOWER = LIBRARY.replace("    return", "    for number in numbers:\n        total += 0\n    return")
