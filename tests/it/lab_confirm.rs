//! Confirming on real hosts: by code, by login, and what is refused.
