"""The C++ inner loop of symmetric contractions."""
