#!/usr/bin/env bash
# Everything behind "What needs to go right for an induction head?" (arXiv 2404.07129), in order and unattended: every run, every replay, and in
# the end the figures. It may be stopped at any time; given again, it goes on where it was.
#
#   scripts/paper.sh main|appendix [SCALE] [RUNS]
#
# SCALE is full, as published, if it is not given; laptop for a quick look; smoke for a test. RUNS is where everything goes, runs/paper if it is
# full, else runs/paper-SCALE; what each step took stands in RUNS/times.tsv. The appendix looks at runs of the main text, which come first.
set -euo pipefail

part=${1:-} scale=${2:-full}
runs=${3:-runs/paper$([ "$scale" = full ] || echo "-$scale")}
optogen=${OPTOGEN:-${CARGO_TARGET_DIR:-target}/release/optogen}
files=$(dirname "$0")/../experiments/induction

case $part in main|appendix) ;; *) echo "usage: scripts/paper.sh main|appendix [SCALE] [RUNS]" >&2; exit 2 ;; esac
mkdir -p "$runs"

# What is told of a step: its folder, what it is, and how long it took. Where single runs failed, the others go on; an interruption ends it all.
failed=()
step() { # FOLDER WHAT COMMAND…
    local folder=$1 what=$2 since=$SECONDS code=0
    shift 2
    printf '%-24s %s\n' "$folder" "$what"
    "$@" || code=$?
    case $code in 0) ;; 1) failed+=("$folder") ;; *) exit "$code" ;; esac
    printf '%s\t%s\t%s\t%s\n' "$part" "$scale" "$folder" "$((SECONDS - since))" >> "$runs/times.tsv"
}

# Trains what an experiment file says; further arguments are for the program.
train() { # FILE WHAT [ARGUMENT…]
    train_to "$1" "$@"
}

train_to() { # FOLDER FILE WHAT [ARGUMENT…]
    local folder=$1 file=$2 what=$3
    shift 3
    step "$folder" "$what" "$optogen" run "$files/$file.toml" --scale "$scale" --out "$runs/$folder" --resume --quiet "$@"
}

# Replays the runs of a folder.
look() { # FILE OF WHAT [ARGUMENT…]
    look_to "$1" "$@"
}

look_to() { # FOLDER FILE OF WHAT [ARGUMENT…]
    local folder=$1 file=$2 of=$3 what=$4
    shift 4
    step "$folder" "$what" "$optogen" replay "$of" --with "$files/replays/$file.toml" --scale "$scale" --out "$runs/$folder" --resume --quiet "$@"
}

# The run of a folder with this init seed.
with_seed() { # FOLDER SEED
    grep -l "^init = $2\$" "$runs/$1"/run=*/experiment.toml | head -n 1 | xargs dirname
}

main_text() {
    train main "the main run (figure 3a)"
    look main_analysis "$runs/main" "induction strength of every head (figure 3b)"
    look layer_0_cut "$runs/main" "without what layer 0 tells the output (section 3)" --spread 1
    look only_head "$runs/main" "each head alone (figure 4a, table 2)" --spread 1
    look without_head "$runs/main" "all heads but one (figure 4a)" --spread 1
    train one_head "one head (figure 5b: none)"
    train previous_token "previous-token attention given (figure 5b: 1)"
    train layer_1 "layer 0 given (figure 5b: 1, 2)"
    train match "matching given (figure 5b: 1, 2, 3qk, 4)"
    train copy "copying given (figure 5b: 3v, 5)"
    train layer_1_copy "layer 0 and copying given (figure 5b: 1, 2, 3v, 5)"
    train_to toy/tensor_product ../toy/tensor_product "the toy model (figure 5a, 9)"
    step toy/figures "its figures, in $runs/toy/figures" "$optogen" figures toy "$runs/toy" --out "$runs/toy/figures"
    train single_head "learning with a single head (figure 4b)"
    train layer_1_copy_classes "subcircuit B, classes (figure 6)"
    train layer_1_copy_labels "subcircuit B, labels (figure 6)"
    train match_classes "subcircuit C, classes (figure 6)"
    train match_labels "subcircuit C, labels (figure 6)"
    train layer_1_classes "subcircuits B and C, classes (figure 6)"
    train layer_1_labels "subcircuits B and C, labels (figure 6)"
    train one_head_classes "normal training, classes (figure 6)"
    train one_head_labels "normal training, labels (figure 6)"
}

appendix() {
    local one donors
    if ! compgen -G "$runs/main/run=*" > /dev/null; then
        echo "there are no runs in $runs/main, and the appendix looks at them; first: scripts/paper.sh main $scale $runs" >&2
        exit 2
    fi
    one=$(with_seed main 5)
    donors=$(printf '%s\n' "$runs"/main/run=*/experiment.toml | xargs -n 1 dirname | paste -sd ,)
    train graft "layer 0 of finished runs (figure 7)" --grid "pass.finished.donor=$donors"
    train previous_token_other "another head attends to the previous token (figure 8)"
    train previous_token_some "three heads do (figure 8)"
    train previous_token_all "all heads do (figure 8)"
    look progress "$(with_seed one_head 5)" "clamps as progress measures (figure 10)" --spread 50
    look preserve_ablation "$one" "patterns or values kept (table 1)" --spread 1
    look pairs_ablation "$one" "the wiring between heads (figure 11)" --spread 1
    look direct_path "$one" "what each layer tells the output (figure 12)" --spread 50
    look adding_heads "$one" "every set of heads (figure 14)" --spread 1
    look match_one_head "$runs/main" "each head alone, matching given (figure 16, table 3)" --spread 1
    train strength "sixteen strengths of an induction head (figure 15)"
    train pair_heads "two heads learn together (figure 17)"
    train_to seeds_main main "more initialisations (figure 18)" --grid seeds.init=8,9
    look_to seeds_analysis main_analysis "$runs/seeds_main" "their induction strengths (figure 18)" --spread 1
    look_to seeds_only_head only_head "$runs/seeds_main" "each of their heads alone (figure 18)" --spread 1
    train_to seeds_single_head single_head "learning with a single head (figure 18)" --grid seeds.init=8,9
}

case $part in
    main) main_text ;;
    appendix) appendix ;;
esac
step figures "figures and tables, in $runs/figures" "$optogen" figures induction "$runs" --out "$runs/figures"
if [ ${#failed[@]} -gt 0 ]; then
    echo "runs failed in: ${failed[*]}" >&2
    exit 1
fi
