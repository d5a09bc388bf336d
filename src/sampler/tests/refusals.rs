//! What cannot be drawn is refused when the sampler is made.

use super::*;

#[test]
fn what_cannot_be_drawn_is_refused() {
    let refused = |data: &str, mixture: &str| match SequenceSampler::training(&experiment(data, &format!("[[data.mixture]]\n{mixture}"))) {
        Err(Error::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    let refused_evaluator = |data: &str, keys: &str| match evaluator(data, keys) {
        Err(Error::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    let relabel = |relabel: &str| format!("{FIVE}\nrelabel = {relabel}");
    let two = "context = 2\nburstiness = 1";
    for (message, expected) in [
        (
            refused(FIVE, "context = 3\nburstiness = 2"),
            "data.mixture[0]: a context of 3 is too short for the query's class and a distractor 2 times (needs 4)",
        ),
        (
            refused(FIVE, "context = 1\nburstiness = 2\ndistractor = false"),
            "data.mixture[0]: a context of 1 is too short for the query's class 2 times (needs 2)",
        ),
        (refused("classes = { train = 1 }\nexemplars = { train = 1 }", two), "data.mixture[0]: needs 2 classes, and there are 1"),
        (
            refused("classes = { train = 2 }\nexemplars = { train = 1 }", "context = 3\nburstiness = 1\nsupport = false"),
            "data.mixture[0]: needs 3 classes (one that the rest of the context may hold), and there are 2",
        ),
        (
            refused(FIVE, "context = 6\nburstiness = 1\nunique = true"),
            "data.mixture[0]: needs 6 classes (4 items without repetition beside the query and the distractor), and there are 5",
        ),
        (
            refused("classes = { train = 0, val = 5 }\nexemplars = { train = 1 }", two),
            "data: there are no train classes (data.classes.train is 0)",
        ),
        (refused(FIVE, "context = 2\nburstiness = 1\nweight = 0"), "data.mixture: every weight is 0"),
        (refused(FIVE, "context = 2\nburstiness = 1\nweight = -1"), "data.mixture[0]: weight = -1 is not a share"),
        (
            refused(FIVE, "context = 2\nburstiness = 1\n[[data.mixture]]\ncontext = 3\nburstiness = 1"),
            "data.mixture[1]: context = 3, but it must be 2 as in the first mixture",
        ),
        (refused(&format!("{FIVE}\nzipf = nan"), two), "data.zipf: NaN is not an exponent"),
        (refused(&format!("{FIVE}\nnoise = -0.1"), two), "data: noise -0.1 is not a standard deviation"),
        (
            refused(&format!("{FIVE}\nrandom_query_label = true"), "context = 0\nburstiness = 0"),
            "data: random_query_label needs a context to put the query's label in",
        ),
        (refused(&relabel("{ labels = 1 }"), two), "data.relabel.labels: 1 is not from 2 to 2^30"),
        (
            refused(&relabel("{ labels = 5, pairs = { train = 8, val = 1 } }"), two),
            "data.relabel.pairs: 8 + 1 + 0 = 9, but 5 labels make 10 pairs",
        ),
        (
            refused(&relabel("{ labels = 5, pairs = { train = 2, val = 8 } }"), two),
            "data.relabel.pairs.train: 2 pairs cannot hold all 5 labels, and every label must be seen in training; at least 3 are needed",
        ),
        (
            refused(&relabel("{ labels = 40, pairs = { train = 20, val = 760 } }"), two),
            "data.relabel.pairs.train: in 1000 draws no split into 20, 760 and 0 pairs had all 40 labels in training; give it more pairs",
        ),
        (refused_evaluator(FIVE, "classes = \"test\""), "evaluator \"probe\": there are no test classes (data.classes.test is 0)"),
        (refused_evaluator(FIVE, "exemplars = \"test\""), "evaluator \"probe\": there are no test exemplars (data.exemplars.test is 0)"),
        (
            refused_evaluator(FIVE, "relabel = \"train\""),
            "evaluator \"probe\": relabel needs the label pairs of data.relabel, which is not given (\"01\" and \"flip\" do not)",
        ),
        (
            refused_evaluator(&relabel("{ labels = 5 }"), "relabel = \"val\""),
            "evaluator \"probe\": relabel = \"val\", but data.relabel.pairs gives no pairs to val",
        ),
        (
            refused_evaluator(FIVE, "relabel = \"flip\"\nburstiness = 0"),
            "evaluator \"probe\": relabel = \"flip\" needs a burstiness of at least 1 and a distractor to swap labels with",
        ),
        (refused_evaluator(FIVE, "file = \"e.h5\""), "evaluator \"probe\": its sequences are read from e.h5, not drawn"),
    ] {
        assert_eq!(message, expected);
    }
    let empty = SequenceSampler::training(&experiment(&format!("{FIVE}\nmixture = []"), ""));
    assert_eq!(empty.unwrap_err().to_string(), "data.mixture: at least one class sampler is needed");
}
