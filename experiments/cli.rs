//! The command line.

use crate::figures::Paper;
use crate::plot::{By, View};
use crate::search::Asked;
use crate::toy;
use clap::{Args, Parser, Subcommand};
use optogen::Result;
use optogen::experiment::{Changes, Experiment};
use std::path::{Path, PathBuf};

/// Trains small transformers and watches in-context learning form.
///
/// Exit codes: 0 all done; 1 some runs failed (which, why, and the command that tries again is said for each);
/// 2 the command line, an experiment file or what it names is wrong, nothing was written; 3 a fault of optogen itself;
/// 71 the system gave no more memory; 74 the disk or a file system failed, or a file of a run is damaged (which, and why);
/// 75 interrupted (Ctrl-C, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 or SIGXCPU) after saving, go on with --resume.
/// Whether anybody reads what is printed changes none of them.
#[derive(Parser)]
#[command(name = "optogen", version, max_term_width = 110)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Trains the networks of an experiment file and writes a folder of Parquet tables and checkpoints for each.
    #[command(after_help = "Examples:\n  \
        optogen run experiments/induction/base.toml\n  \
        optogen run experiments/induction/base.toml --set train.sequences=100000 --grid seeds.init=5,6,7 --out runs/seeds\n  \
        optogen run experiments/induction/base.toml --out runs/seeds --resume")]
    Run(RunArguments),
    /// Makes a run of the published code (its config.json, and its own checkpoint and evaluation files) a run folder of ours.
    Import(ImportArguments),
    /// Evaluates the checkpoints of runs again, with further interventions, hooks and measures if you like.
    #[command(after_help = "Examples:\n  \
        optogen replay runs/demo --out runs/again\n  \
        optogen replay runs/demo --with experiments/induction/replays/without_head.toml --spread 20 --out runs/heads")]
    Replay(ReplayArguments),
    /// Goes on from a checkpoint of a run, with the same order of the data and other interventions.
    #[command(after_help = "Example:\n  \
        optogen branch runs/demo/run=induction-base-25d85a25 --at 200000 --with mine.toml --out runs/branch")]
    Branch(BranchArguments),
    /// Draws the figures and tables of a paper from the logs of its runs, as SVG, PNG, Markdown, and Parquet with the numbers in them.
    #[command(after_help = "Example:\n  \
        optogen figures induction runs/paper --out runs/paper/figures")]
    Figures(FiguresArguments),
    /// Draws any runs: metrics, heads, attention, single sequences.
    #[command(after_help = "Examples:\n  \
        optogen plot runs/seeds --view curves --metric acc --baseline chance=0.5 --out plots\n  \
        optogen plot runs/demo --view traces --by label-pair --worst 10 --out plots")]
    Plot(PlotArguments),
    /// Lists every site of an experiment's model: its names, its shape, and which interventions and hooks stand there.
    Sites(SitesArguments),
    /// Holds everything in run folders against its checksums: tables, journals, checkpoints; a line for each fault.
    #[command(after_help = "Example:\n  \
        optogen verify runs/demo")]
    Verify(VerifyArguments),
}

/// `optogen run`.
#[derive(Args)]
pub struct RunArguments {
    /// The experiment file.
    pub file: PathBuf,
    /// Where run folders go, OUT/run=ID/ each.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// One of the file's [scale] tables: laptop for a quick look, smoke for a test; full is the file as it stands.
    #[arg(long, value_name = "NAME")]
    pub scale: Option<String>,
    /// Changes a key of the file: train.sequences=100000, evaluator.0.context=4; nothing after the = takes the key out.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// One run for each value; several of these make one for each combination.
    #[arg(long = "grid", value_name = "KEY=V1,V2,…")]
    pub grids: Vec<String>,
    /// Goes on with runs that were interrupted; those that are finished are only shown.
    #[arg(long)]
    pub resume: bool,
    /// Tells at the end how the time divided among the stages of a step; where a step is fused, forward makes the gradients too.
    #[arg(long)]
    pub profile: bool,
    /// Models that step together as one stack [default: 1 on a CPU, all of a shape on a GPU].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub cohort: Option<u32>,
    /// Where else to look.
    #[command(flatten)]
    pub also: DataArguments,
    /// What all understand.
    #[command(flatten)]
    pub common: CommonArguments,
}

impl RunArguments {
    /// What they change in the file.
    pub fn changes(&self) -> Changes<'_> {
        Changes { scale: self.scale.as_deref(), sets: &self.sets, grids: &self.grids }
    }
}

/// `optogen import`.
#[derive(Args)]
pub struct ImportArguments {
    /// The published code's config.json.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// One of its checkpoints, an .eqx file; may be given several times.
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub checkpoints: Vec<PathBuf>,
    /// Its evaluation data; the evaluators in it take the place of the config's.
    #[arg(long, value_name = "FILE")]
    pub eval_data: Option<PathBuf>,
    /// Where the run folder goes, OUT/run=ID/.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `optogen replay`.
#[derive(Args)]
pub struct ReplayArguments {
    /// Run folders, or folders that hold some.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// Where the tables go, OUT/run=ID/ each.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What is on top of each run's experiment.
    #[command(flatten)]
    pub on_top: OnTopArguments,
    /// Only so many checkpoints, evenly spread, the first and the last among them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub spread: Option<u32>,
    /// Leaves alone what was replayed to the end, and does the rest.
    #[arg(long)]
    pub resume: bool,
    /// Where else to look.
    #[command(flatten)]
    pub also: DataArguments,
    /// What all understand.
    #[command(flatten)]
    pub common: CommonArguments,
}

/// What changes the experiment of a run that is there.
#[derive(Args)]
pub struct OnTopArguments {
    /// A file on top of the run's experiment: further [[intervention]], [[pass]] and [[hook]], [measures], and [sweep] for many sets of them.
    #[arg(long = "with", value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// A scale of that file, as in `optogen run`.
    #[arg(long, value_name = "NAME")]
    pub scale: Option<String>,
    /// Changes a key, as in `optogen run`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// One run for each value, as in `optogen run`.
    #[arg(long = "grid", value_name = "KEY=V1,V2,…")]
    pub grids: Vec<String>,
}

impl OnTopArguments {
    /// The experiments that this makes of a run folder's.
    pub fn experiments(&self, run: &Path) -> Result<Asked<Experiment>> {
        toy::refuse(&run.join("experiment.toml"))?;
        let changes = Changes { scale: self.scale.as_deref(), sets: &self.sets, grids: &self.grids };
        Asked::of_run(run, self.with.as_deref(), &changes)
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.with.is_none() && self.scale.is_none() && self.sets.is_empty() && self.grids.is_empty()
    }
}

/// `optogen branch`.
#[derive(Args)]
pub struct BranchArguments {
    /// The run folder.
    pub run: PathBuf,
    /// The checkpoint from which it goes on, by the number of sequences seen.
    #[arg(long, value_name = "SEQUENCES")]
    pub at: u64,
    /// What is on top of the run's experiment.
    #[command(flatten)]
    pub on_top: OnTopArguments,
    /// Where run folders go, OUT/run=ID/ each.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Goes on with branches that were interrupted; those that are finished are only shown.
    #[arg(long)]
    pub resume: bool,
    /// Where else to look.
    #[command(flatten)]
    pub also: DataArguments,
    /// What all understand.
    #[command(flatten)]
    pub common: CommonArguments,
}

/// `optogen figures`.
#[derive(Args)]
pub struct FiguresArguments {
    /// Which paper.
    pub paper: Paper,
    /// The folder in which its runs lie, a folder for each experiment file.
    #[arg(value_name = "RUNS")]
    pub runs: PathBuf,
    /// Where the figures go.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `optogen plot`.
#[derive(Args)]
pub struct PlotArguments {
    /// Run folders, or folders that hold some.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// How to look at them.
    #[arg(long)]
    pub view: View,
    /// Of this evaluator; may be given several times [default: all, or the first where a view is of one].
    #[arg(long = "evaluator", value_name = "NAME")]
    pub evaluators: Vec<String>,
    /// Which metric, or measure of heads [default: loss, induction_strength].
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,
    /// By what sequences are grouped.
    #[arg(long)]
    pub by: Option<By>,
    /// Which layer, counted from 0 [default: all, or the last where a view is of one].
    #[arg(long, value_name = "N")]
    pub layer: Option<usize>,
    /// How many of the worst sequences [default: 20].
    #[arg(long, value_name = "K")]
    pub worst: Option<usize>,
    /// A dashed horizontal line; may be given several times.
    #[arg(long = "baseline", value_name = "NAME=VALUE", value_parser = baseline)]
    pub baselines: Vec<(String, f64)>,
    /// Where else to look for what sequences are drawn from.
    #[command(flatten)]
    pub also: DataArguments,
    /// Only evaluations that lie at least so many sequences apart.
    #[arg(long, value_name = "SEQUENCES")]
    pub every: Option<u64>,
    /// The area below the curve so far, in place of the curve.
    #[arg(long)]
    pub integrated: bool,
    /// Where the pictures go.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

fn baseline(text: &str) -> std::result::Result<(String, f64), String> {
    let (name, value) = text.rsplit_once('=').ok_or("a name and a number, as in chance=0.5")?;
    let value = value.parse().map_err(|_| format!("{value} is not a number"))?;
    Ok((name.to_owned(), value))
}

/// `optogen sites`.
#[derive(Args)]
pub struct SitesArguments {
    /// The experiment file.
    pub file: PathBuf,
    /// A scale of the file, as in `optogen run`.
    #[arg(long, value_name = "NAME")]
    pub scale: Option<String>,
    /// Changes a key, as in `optogen run`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// `optogen verify`.
#[derive(Args)]
pub struct VerifyArguments {
    /// Run folders, or folders that hold some.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
}

/// Where else to look for what an experiment names.
#[derive(Args, Clone, Default)]
pub struct DataArguments {
    /// A further folder to look in for banks, files of sequences and checkpoints that do not lie where they were; may be given several times.
    #[arg(long = "data", value_name = "DIR")]
    pub data: Vec<PathBuf>,
}

/// What all that compute understand.
#[derive(Args, Clone)]
pub struct CommonArguments {
    /// What to compute on: auto, cpu, or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Threads [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// No progress and no table.
    #[arg(long)]
    pub quiet: bool,
}

impl CommonArguments {
    /// How many threads to use.
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |threads| threads as usize)
    }
}
