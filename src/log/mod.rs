//! What a run writes down: Arrow tables, journalled while it runs and sealed into Parquet.
//!
//! Times stand in `timing` and in the run's row alone, so that the other tables of two runs can be compared.

mod parquet_file;
mod row_groups;
mod run_row;
mod schema;
mod table;
mod tables;

pub use parquet_file::{read_table, write_parquet};
pub use run_row::{RunRow, RunStatus, read_run_status, write_run_row};
pub use schema::{TABLES, schema};
pub use table::Table;
pub use tables::{Closing, Lasting, RunLog, Waiting};
