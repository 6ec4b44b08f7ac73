//! The edges of the rules: exact instants, exact limits, and what a wrong or rare message must leave alone.

mod campaigns;
mod leaders;
mod limits;
mod memberships;
mod transfers;
