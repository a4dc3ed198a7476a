"""Arithmetic of polynomials modulo X^N + 1 and several primes, compiled: transforms, seeds, reduction."""
