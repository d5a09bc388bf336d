//! Whether interventions and passes can be as they are: sites, layers and heads that exist, actions that fit their site, and no two that write
//! the same entries without a stated order.

use super::{Checked, Fault, at_least_one, name, not_negative, require, utf8};
use crate::experiment::{
    Action, CLEAN, Cadence, Entries, Experiment, InterventionSpec, MixtureSpec, Moment, Role, Selection, TokenSelection, nearest,
};
use crate::metrics::Metrics;
use crate::site::{Axes, Site};
use crate::transformer::Architecture;

pub(super) fn interventions(experiment: &Experiment) -> Checked {
    passes(experiment)?;
    for (index, intervention) in experiment.interventions.iter().enumerate() {
        let key = format!("intervention.{index}");
        if let Some(title) = &intervention.name {
            name(title, format!("{key}.name"))?;
        }
        entries(experiment, &intervention.entries(), &key)?;
        action(experiment, intervention, &key)?;
        within_one(intervention.strength, format!("{key}.strength"))?;
        during(experiment, &intervention.during, &["training", "evaluation", "replay"], &format!("{key}.during"))?;
        moment(experiment, &intervention.from, &format!("{key}.from"))?;
        intervention.until.as_ref().map_or(Ok(()), |until| moment(experiment, until, &format!("{key}.until")))?;
        if let (Moment::Sequences(from), Some(Moment::Sequences(until))) = (&intervention.from, &intervention.until) {
            require(from < until, format!("{key}.until"), || format!("it ends at {until}, and begins at {from}"))?;
        }
    }
    no_conflicts(experiment)?;
    no_circles(experiment)
}

fn passes(experiment: &Experiment) -> Checked {
    for (index, pass) in experiment.passes.iter().enumerate() {
        let key = format!("pass.{index}");
        name(&pass.name, format!("{key}.name"))?;
        require(![CLEAN, "main"].contains(&pass.name.as_str()), format!("{key}.name"), || {
            format!("\"{}\" is always there; choose another name", pass.name)
        })?;
        let earlier = &experiment.passes[..index];
        require(earlier.iter().all(|other| other.name != pass.name), format!("{key}.name"), || {
            format!("another pass is called \"{}\" too", pass.name)
        })?;
        pass.donor.as_ref().map_or(Ok(()), |donor| utf8(donor, format!("{key}.donor")))?;
    }
    Ok(())
}

fn known_pass(experiment: &Experiment, pass: &str, key: impl Into<String>) -> Checked {
    let names = || experiment.passes.iter().map(|pass| pass.name.as_str()).chain([CLEAN]);
    require(names().any(|name| name == pass), key, || {
        let hint = nearest(pass, names()).map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
        format!("there is no [[pass]] called \"{pass}\"{hint}")
    })
}

/// Sites, layers, heads, tokens and dimensions that exist, and at least one of each.
fn entries(experiment: &Experiment, chosen: &Entries, key: &str) -> Checked {
    let Entries { site, layers, heads, at, to, dimensions } = chosen;
    let architecture = Architecture::new(experiment, 0, false);
    let has_site = site.is_in(&architecture);
    require(has_site, format!("{key}.site"), || format!("this model has no \"{}\": {}", site.name(), site.needs()))?;
    numbers(layers, format!("{key}.layers"), "layer", if site.in_blocks() { architecture.layers } else { 0 }, || {
        format!("\"{}\" belongs to no layer", site.name())
    })?;
    let has_heads = matches!(site.axes(), Axes::Heads | Axes::Attention | Axes::HeadsSideBySide);
    numbers(heads, format!("{key}.heads"), "head", if has_heads { architecture.heads } else { 0 }, || {
        format!("\"{}\" belongs to no head", site.name())
    })?;
    let size = site.last_dimension(&architecture);
    numbers(dimensions, format!("{key}.dimensions"), "dimension", size.unwrap_or(0), || {
        format!("\"{}\" has tokens as its last dimension; choose them by \"to\"", site.name())
    })?;
    let pairs = experiment.data.mixture.first().map_or(0, |mixture: &MixtureSpec| mixture.context) + 1;
    let (tokens, what) = match site.axes() {
        Axes::Pairs => (pairs, "exemplars"),
        _ => (2 * pairs - 1, "tokens"),
    };
    for (side, selection) in [("at", at), ("to", to)] {
        let key = format!("{key}.{side}");
        let attention = site.axes() == Axes::Attention;
        require(side == "at" || attention || selection.is_all(), &key, || {
            format!("only \"scores\" and \"pattern\" have tokens that are attended to, not \"{}\"", site.name())
        })?;
        match selection {
            TokenSelection::All => {}
            TokenSelection::Role(role) => {
                let relative = matches!(role, Role::Itself | Role::Previous);
                require(side == "to" || !relative, &key, || "\"itself\" and \"previous\" are for \"to\" alone".into())?;
                let of_pairs = matches!(role, Role::Query | Role::Context);
                require(what == "tokens" || of_pairs, &key, || {
                    format!("\"{}\" is given at exemplars alone; choose \"all\", \"query\", \"context\" or numbers", site.name())
                })?;
                require(site.axes() != Axes::Positions || !selection.depend_on_labels(), &key, || {
                    "positions are the same for all sequences; choose tokens that do not depend on labels".into()
                })?;
            }
            TokenSelection::Only(list) => {
                require(!list.is_empty(), &key, || "chooses nothing".into())?;
                let count = tokens as i64;
                let wrong = list.iter().find(|&&at| at < -count || at >= count);
                require(wrong.is_none(), &key, || {
                    format!("there is no {}: the {what} are 0 to {}, or -{count} to -1", wrong.copied().unwrap_or_default(), count - 1)
                })?;
            }
        }
    }
    Ok(())
}

/// A selection among `count` things; where there are none, it must be absent.
fn numbers(selection: &Selection, key: String, what: &str, count: usize, none: impl FnOnce() -> String) -> Checked {
    if count == 0 {
        return require(selection.is_all(), key, none);
    }
    let wrong = selection.named().iter().find(|&&number| number >= count);
    require(wrong.is_none(), key.clone(), || {
        format!("there is no {what} {}: they are 0 to {}", wrong.copied().unwrap_or_default(), count - 1)
    })?;
    require(!selection.of(count).is_empty(), key, || "chooses nothing".into())
}

fn within_one(number: f64, key: String) -> Checked {
    require((0.0..=1.0).contains(&number), key, || format!("must be from 0 to 1, not {number}"))
}

/// Words and evaluators' names.
pub(super) fn during(experiment: &Experiment, names: &[String], words: &[&str], key: &str) -> Checked {
    let known = || words.iter().copied().chain(experiment.evaluators.iter().map(|evaluator| evaluator.name.as_str()));
    let wrong = names.iter().find(|name| known().all(|known| known != *name));
    require(wrong.is_none(), key, || {
        let name = wrong.map_or("", String::as_str);
        let hint = nearest(name, known()).map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
        let all: Vec<String> = known().map(|name| format!("\"{name}\"")).collect();
        format!("unknown value \"{name}\"{hint} (known are {})", all.join(", "))
    })
}

fn moment(experiment: &Experiment, moment: &Moment, key: &str) -> Checked {
    let Moment::Crossing(crossing) = moment else { return Ok(()) };
    during(experiment, std::slice::from_ref(&crossing.evaluator), &[], &format!("{key}.evaluator"))?;
    let known = || Metrics::NAMES.into_iter().chain(crate::heads::NAMES);
    require(known().any(|name| name == crossing.measure), format!("{key}.measure"), || {
        let hint = nearest(&crossing.measure, known()).map_or(String::new(), |name| format!("; did you mean \"{name}\"?"));
        let all: Vec<String> = known().map(|name| format!("\"{name}\"")).collect();
        format!("there is no measure \"{}\"{hint} (known are {})", crossing.measure, all.join(", "))
    })?;
    require(Metrics::NAMES.contains(&crossing.measure.as_str()) || experiment.measures.heads, format!("{key}.measure"), || {
        "heads are not measured: measures.heads is false".into()
    })?;
    require(crossing.above.is_some() != crossing.below.is_some(), key, || "needs one of \"above\" and \"below\"".into())
}

/// Whether an action can be done at its site.
fn action(experiment: &Experiment, intervention: &InterventionSpec, key: &str) -> Checked {
    let InterventionSpec { site, at, action, .. } = intervention;
    let key = format!("{key}.action");
    let only_at = |wanted: Site| {
        require(*site == wanted, key.clone(), || {
            format!("\"{}\" is an action at \"{}\", not at \"{}\"", action.name(), wanted.name(), site.name())
        })
    };
    let only_query = || {
        require(*at == TokenSelection::Role(Role::Query), key.clone(), || {
            format!("\"{}\" is an action on the query alone; write at = \"query\"", action.name())
        })
    };
    if let Some(pass) = action.source() {
        known_pass(experiment, pass, &key)?;
    }
    if let Some(pass) = &intervention.pass {
        known_pass(experiment, pass, format!("{}.pass", key.trim_end_matches(".action")))?;
        require(pass != CLEAN, key.clone(), || "in the clean pass nothing is replaced; make a [[pass]] of your own".into())?;
        let donor = experiment.passes.iter().any(|other| other.name == *pass && other.donor.is_some());
        require(!donor, key.clone(), || format!("pass \"{pass}\" is another model, which keeps its own interventions"))?;
    }
    match action {
        Action::Zero => {}
        Action::Mean | Action::Resample => {
            require(site.axes() != Axes::Positions, key.clone(), || "positions are the same for all sequences".into())?;
        }
        Action::Set(number) | Action::Scale(number) => {
            require(number.is_finite(), key.clone(), || format!("{number} is no number"))?;
        }
        Action::Add(vector) => {
            let size = site.last_dimension(&Architecture::new(experiment, 0, false));
            require(size == Some(vector.len()), key.clone(), || match size {
                Some(size) => format!("the vector has {} numbers, and \"{}\" has {size}", vector.len(), site.name()),
                None => format!("there is no vector to add to at \"{}\"", site.name()),
            })?;
            require(vector.iter().all(|number| number.is_finite()), key.clone(), || "not all of it are numbers".into())?;
        }
        Action::Copy(copy) => {
            let source = copy.site.unwrap_or(*site);
            let architecture = Architecture::new(experiment, 0, false);
            require(source.is_in(&architecture), key.clone(), || format!("this model has no \"{}\": {}", source.name(), source.needs()))?;
            require(
                source.axes() == site.axes() && source.last_dimension(&architecture) == site.last_dimension(&architecture),
                key.clone(),
                || format!("\"{}\" has another shape than \"{}\"", source.name(), site.name()),
            )?;
            if let Some(layer) = copy.layer {
                require(source.in_blocks() && layer < architecture.layers, key.clone(), || {
                    format!("there is no layer {layer} of \"{}\"", source.name())
                })?;
            }
            require(copy.layer.is_some() || !source.in_blocks() || site.in_blocks(), key.clone(), || {
                format!("of which layer is \"{}\" to be copied? Give it as layer = …", source.name())
            })?;
            require(copy.shift == 0 || site.axes() == Axes::Tokens, key.clone(), || {
                format!("tokens cannot be shifted at \"{}\"", site.name())
            })?;
            if copy.pass.is_none() {
                let first = intervention.layers.of(architecture.layers).first().copied().filter(|_| site.in_blocks());
                let from = copy.layer.or(first).filter(|_| source.in_blocks());
                let before = (source.part(), from, source) < (site.part(), first, *site);
                require(before, key.clone(), || {
                    format!(
                        "within one pass only earlier sites can be copied, and \"{}\" is not earlier than \"{}\"",
                        source.name(),
                        site.name()
                    )
                })?;
            }
        }
        Action::Forbid => only_at(Site::Scores)?,
        Action::Temperature(temperature) | Action::FrozenTemperature(temperature) => {
            only_at(Site::Scores)?;
            require(*temperature > 0.0 && temperature.is_finite(), key.clone(), || {
                format!("a temperature must be a positive number, not {temperature}")
            })?;
        }
        Action::PreviousToken { strength } => {
            only_at(Site::Pattern)?;
            within_one(*strength, format!("{key}.previous_token.strength"))?;
        }
        Action::Induction { strength } => {
            only_at(Site::Pattern)?;
            only_query()?;
            within_one(*strength, format!("{key}.induction.strength"))?;
        }
        Action::Match { temperature } => {
            only_at(Site::Pattern)?;
            only_query()?;
            require(*temperature >= 0.0 && temperature.is_finite(), format!("{key}.match.temperature"), || {
                format!("must be 0 or a positive number, not {temperature}")
            })?;
        }
        Action::CopyFromHead(head) => {
            only_at(Site::Logits)?;
            only_query()?;
            let model = &experiment.model;
            require(head.layer < model.layers && head.head < model.heads, key.clone(), || {
                format!("there is no head {} in layer {}", head.head, head.layer)
            })?;
        }
        Action::ContinueIn(pass) => {
            only_at(Site::ResidualPost)?;
            let donor = experiment.passes.iter().any(|other| other.name == *pass && other.donor.is_some());
            require(donor, key.clone(), || format!("\"{pass}\" is no [[pass]] with a donor"))?;
            let whole = intervention.layers.of(experiment.model.layers).len() == 1 && at.is_all() && intervention.dimensions.is_all();
            require(whole && intervention.pass.is_none() && intervention.strength == 1.0, key.clone(), || {
                "hands over all of one layer's output, in the main pass; choose one layer, and neither tokens nor dimensions".into()
            })?;
            let others = experiment.interventions.iter().filter(|other| matches!(other.action, Action::ContinueIn(_))).count();
            require(others == 1, key.clone(), || "only one intervention can hand over to another model".into())?;
            let read = experiment.interventions.iter().any(|other| other.action.source() == Some(pass));
            require(!read, key.clone(), || format!("\"{pass}\" goes on from this model, so nothing here can read it"))?;
        }
    }
    Ok(())
}

/// No two write the same entries of the same pass at the same time, unless their order is given.
fn no_conflicts(experiment: &Experiment) -> Checked {
    let all = &experiment.interventions;
    for (index, one) in all.iter().enumerate() {
        for (earlier, other) in all[..index].iter().enumerate() {
            if one.order.unwrap_or(0) == other.order.unwrap_or(0) && overlap(experiment, one, other) {
                return Err(Fault {
                    key: format!("intervention.{index}"),
                    message: format!(
                        "\"{}\" and \"{}\" (intervention.{earlier}) write the same entries of \"{}\"; give them an order (order = 1, order = 2: the later wins)",
                        one.title(),
                        other.title(),
                        one.site.name()
                    ),
                });
            }
        }
    }
    Ok(())
}

fn overlap(experiment: &Experiment, one: &InterventionSpec, other: &InterventionSpec) -> bool {
    let model = &experiment.model;
    let common = |a: &Selection, b: &Selection, count: usize| a.of(count).iter().any(|number| b.of(count).contains(number));
    let pairs = experiment.data.mixture.first().map_or(0, |mixture| mixture.context) + 1;
    let tokens = if one.site.axes() == Axes::Pairs { pairs } else { 2 * pairs - 1 };
    let size = one.site.last_dimension(&Architecture::new(experiment, 0, false)).unwrap_or(1);
    let held = |one: &InterventionSpec, attending: usize, attended: usize| {
        one.at.may_hold(attending, tokens, attending) && one.to.may_hold(attended, tokens, attending)
    };
    let attention = one.site.axes() == Axes::Attention;
    let attended = if attention { tokens } else { 1 };
    let both = |a: usize, b: usize| {
        let b = if attention { b } else { a };
        let side = |spec: &InterventionSpec| if attention { held(spec, a, b) } else { spec.at.may_hold(a, tokens, a) };
        side(one) && side(other) && !disjoint_roles(&one.at, &other.at) && !disjoint_roles(&one.to, &other.to)
    };
    let times = |one: &InterventionSpec, other: &InterventionSpec| match (&one.until, &other.from) {
        (Some(Moment::Sequences(until)), Moment::Sequences(from)) => from < until,
        (Some(Moment::Crossing(until)), Moment::Crossing(from)) => from != until,
        _ => true,
    };
    let phases = one.during.is_empty()
        || other.during.is_empty()
        || one.during.iter().any(|name| other.during.iter().any(|other| same_phase(name, other)));
    let hands_over = |spec: &InterventionSpec| matches!(spec.action, Action::ContinueIn(_));
    one.site == other.site
        && one.pass == other.pass
        && !hands_over(one)
        && !hands_over(other)
        && (!one.site.in_blocks() || common(&one.layers, &other.layers, model.layers))
        && common(&one.heads, &other.heads, model.heads)
        && common(&one.dimensions, &other.dimensions, size)
        && phases
        && times(one, other)
        && times(other, one)
        && (0..tokens).any(|a| (0..attended).any(|b| both(a, b)))
}

/// Evaluators are part of `"evaluation"` and of `"replay"`.
fn same_phase(one: &str, other: &str) -> bool {
    one == other
        || (one != "training"
            && other != "training"
            && (["evaluation", "replay"].contains(&one) || ["evaluation", "replay"].contains(&other)))
}

fn disjoint_roles(one: &TokenSelection, other: &TokenSelection) -> bool {
    use TokenSelection::Role as By;
    matches!((one, other), (By(Role::RightLabels), By(Role::OtherLabels)) | (By(Role::OtherLabels), By(Role::RightLabels)))
}

/// A pass reads others that do not, in the end, read it.
fn no_circles(experiment: &Experiment) -> Checked {
    for (index, pass) in experiment.passes.iter().enumerate() {
        let mut reached: Vec<&str> = vec![&pass.name];
        let mut next = 0;
        while next < reached.len() {
            let within = |intervention: &&InterventionSpec| intervention.pass.as_deref() == Some(reached[next]);
            let sources: Vec<&str> = experiment.interventions.iter().filter(within).filter_map(|one| one.action.source()).collect();
            require(!sources.contains(&pass.name.as_str()), format!("pass.{index}"), || {
                format!("\"{}\" reads, by way of its interventions, itself", pass.name)
            })?;
            reached.extend(sources.into_iter().filter(|source| !reached.contains(source)).collect::<Vec<_>>());
            next += 1;
        }
    }
    Ok(())
}

/// What is measured beside the metrics.
pub(super) fn measures(experiment: &Experiment) -> Checked {
    let measures = &experiment.measures;
    not_negative(measures.hook_megabytes, "measures.hook_megabytes")?;
    require(measures.heads || !measures.attribution, "measures.attribution", || {
        "goes to the table of heads, and measures.heads is false".into()
    })
}

/// Hooks: entries that exist, tables of their own, and cadences that can be.
pub(super) fn hooks(experiment: &Experiment) -> Checked {
    for (index, hook) in experiment.hooks.iter().enumerate() {
        let key = format!("hook.{index}");
        name(&hook.table, format!("{key}.table"))?;
        let taken = crate::log::TABLES.contains(&hook.table.as_str()) || hook.table == "run";
        require(!taken, format!("{key}.table"), || format!("\"{}\" is a table of every run; choose another name", hook.table))?;
        require(experiment.hooks[..index].iter().all(|other| other.table != hook.table), format!("{key}.table"), || {
            format!("another hook writes \"{}\" too", hook.table)
        })?;
        let chosen = hook.entries();
        entries(experiment, &chosen, &key)?;
        require(!chosen.depend_on_labels(), &key, || {
            "which tokens are right or other labels differs between sequences; choose \"labels\"".into()
        })?;
        during(experiment, &hook.during, &["training", "evaluation"], &format!("{key}.during"))?;
        if let Cadence::Sequences(every) = hook.every {
            at_least_one(every, format!("{key}.every"))?;
        }
        hook.examples.map_or(Ok(()), |examples| at_least_one(examples as u64, format!("{key}.examples")))?;
        let axes = hook.site.axes();
        if let crate::experiment::Reduction::Quantiles(list) = &hook.reduce {
            let fine = !list.is_empty() && list.iter().all(|quantile| (0.0..=1.0).contains(quantile));
            require(fine, format!("{key}.reduce"), || "quantiles are numbers from 0 to 1, at least one".into())?;
        }
        let entropy = hook.reduce == crate::experiment::Reduction::Entropy;
        require(!entropy || hook.site == Site::Pattern && hook.to.is_all() && !hook.gradient, format!("{key}.reduce"), || {
            "an entropy is that of a whole distribution: of \"pattern\", with every \"to\", and not of gradients".into()
        })?;
        require(axes != Axes::Positions || !hook.gradient, format!("{key}.gradient"), || {
            "positions are the same for all sequences; look at the gradient of \"embedding\" instead".into()
        })?;
    }
    Ok(())
}
