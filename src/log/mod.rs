//! What a run writes down: Arrow tables, journalled while it runs and sealed into Parquet.
//!
//! Times stand in `timing` and in the run's row alone, so that the other tables of two runs can be compared.

mod journal;
mod kept_run;
mod parquet_file;
mod reading;
mod row_groups;
mod run_row;
mod saved;
mod schema;
mod table;
mod tables;
mod tally;

pub use journal::check_journal;
pub use kept_run::KeptRun;
pub use parquet_file::write_parquet;
pub use reading::{read_run_table, read_table};
pub use run_row::{RunRow, RunStatus, read_run_status, write_run_row};
pub use saved::{SavedRows, SavedTables};
pub use schema::{TABLES, schema};
pub use table::Table;
pub use tables::{Closing, Lasting, RunLog, Waiting};
pub use tally::{Tallies, Tally};
