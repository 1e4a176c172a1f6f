//! What a mix gave, beside the goals.

use std::collections::BTreeMap;

use super::{
    super::{Goals, hold, hold_least, print},
    Mix, SweepArguments, number,
    prober::{Prober, Sweep},
};

/// All sweeps of one mix.
pub(super) type Sweeps = BTreeMap<Prober, Vec<Sweep>>;

/// One number of a sweep.
type Figure = fn(&Sweep) -> f64;

/// What is ours among the tools.
const OURS: [Prober; 3] = [Prober::Engine, Prober::Evidence, Prober::Probe];

/// Targets that ours called something else than they are, but for *starved*.
pub(super) fn wrong(sweeps: &Sweeps) -> usize {
    let ours = OURS.iter().filter_map(|prober| sweeps.get(prober));
    ours.flatten().map(|sweep| sweep.wrong).sum()
}

/// Prints what a mix gave, and holds it against the goals.
pub(super) fn report(mix: Mix, sweeps: &Sweeps, arguments: &SweepArguments) -> Goals {
    print(&format!(
        "\n{} x {} targets, {} repetitions, {} in flight",
        mix.name(),
        arguments.targets,
        arguments.repeat,
        arguments.in_flight
    ));
    table(sweeps, arguments);
    let wrong = u64::try_from(wrong(sweeps)).unwrap_or(u64::MAX);
    let goals = hold("targets misclassified by ours", number(wrong), 0.0);
    if arguments.starve {
        return goals;
    }
    goals
        .and(against_floor(sweeps, arguments))
        .and(against_nmap(mix, sweeps))
}

/// One line for each tool.
fn table(sweeps: &Sweeps, arguments: &SweepArguments) {
    let targets = f64::from(arguments.targets);
    for (prober, all) in sweeps {
        print(&format!(
            "  {:<27} CPU {:>8.2} us/target (process {:>8.2})  wall {:>7.3} s  peak {:>6.1} MiB  wrong {} starved {}",
            prober.name(),
            middle(sweeps, *prober, work_cpu) / targets,
            middle(sweeps, *prober, process_cpu) / targets,
            middle(sweeps, *prober, work_wall) / 1e6,
            middle(sweeps, *prober, peak),
            all.iter().map(|sweep| sweep.wrong).sum::<usize>(),
            all.iter().map(|sweep| sweep.starved).sum::<usize>(),
        ));
    }
}

/// Ratios to the floor of the same repetition.
fn against_floor(sweeps: &Sweeps, arguments: &SweepArguments) -> Goals {
    let ratios: [(&str, Prober, Figure, f64); 5] = [
        (
            "CPU, engine / floor, paired",
            Prober::Engine,
            work_cpu,
            1.05,
        ),
        (
            "CPU, engine with evidence and batches / floor, paired",
            Prober::Evidence,
            work_cpu,
            1.15,
        ),
        (
            "CPU, probe / floor, whole processes, paired",
            Prober::Probe,
            process_cpu,
            1.15,
        ),
        (
            "wall, engine / floor, paired",
            Prober::Engine,
            work_wall,
            1.05,
        ),
        (
            "wall, probe / floor, whole processes, paired",
            Prober::Probe,
            process_wall,
            1.05,
        ),
    ];
    let mut goals = Goals::Reached;
    for (name, prober, figure, most) in ratios {
        goals = goals.and(hold(name, paired(sweeps, prober, figure), most));
    }
    goals.and(hold(
        "peak RSS of probe, MiB",
        middle(sweeps, Prober::Probe, peak),
        rss_goal(arguments.in_flight),
    ))
}

/// Ratios to `nmap` tuned, if it was measured: never slower, and where silence rules far faster.
fn against_nmap(mix: Mix, sweeps: &Sweeps) -> Goals {
    if !sweeps.contains_key(&Prober::NmapTuned) {
        return Goals::Reached;
    }
    let ratio =
        |figure| middle(sweeps, Prober::NmapTuned, figure) / middle(sweeps, Prober::Probe, figure);
    let (faster, cheaper) = match mix {
        Mix::Silent => (8.0, 18.0),
        Mix::Mixed => (1.0, 4.0),
        Mix::Open | Mix::Refused => (1.0, 1.0),
    };
    hold_least("wall, nmap tuned / probe", ratio(process_wall), faster).and(hold_least(
        "CPU, nmap tuned / probe",
        ratio(process_cpu),
        cheaper,
    ))
}

/// Most resident memory in MiB, by what is in flight.
fn rss_goal(in_flight: usize) -> f64 {
    if in_flight <= 1_000 { 8.0 } else { 12.0 }
}

fn work_cpu(sweep: &Sweep) -> f64 {
    number(sweep.work.cpu_us)
}

fn process_cpu(sweep: &Sweep) -> f64 {
    number(sweep.process.cpu_us)
}

fn work_wall(sweep: &Sweep) -> f64 {
    number(sweep.work.wall_us)
}

fn process_wall(sweep: &Sweep) -> f64 {
    number(sweep.process.wall_us)
}

/// Resident memory of the process, in MiB.
fn peak(sweep: &Sweep) -> f64 {
    number(sweep.process.peak_kib) / 1024.0
}

/// The middle of a tool's sweeps.
fn middle(sweeps: &Sweeps, prober: Prober, figure: Figure) -> f64 {
    let all = sweeps.get(&prober).into_iter().flatten();
    median(all.map(figure).collect())
}

/// The middle of the ratios to the floor, each within one repetition.
fn paired(sweeps: &Sweeps, prober: Prober, figure: Figure) -> f64 {
    let all = |prober| sweeps.get(&prober).into_iter().flatten().map(figure);
    let ratios = all(prober).zip(all(Prober::Floor));
    median(ratios.map(|(ours, floor)| ours / floor).collect())
}

/// The middle of some numbers.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_repetitions_is_not_their_mean() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]).to_string(), "2");
        assert!(median(Vec::new()).is_nan());
    }
}
