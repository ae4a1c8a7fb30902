//! Tokens of ours and of other systems, and what attackers make of them.

mod foreign;
mod own;
