//! Integration tests: one binary, one module per topic.

mod ansible_oracle;
mod inventory_cli;
