//! What a simulated cluster is made of.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::cluster::Cluster;
use super::conditions::Conditions;
use super::dice::Dice;
use super::election::{last_wish, random_command};
use super::failure::Failure;
use super::fault::Faults;
use super::invariant::{self, Invariant, OutputsBounded};
use super::machine::{Boot, Machine, StartError};
use super::run;
use super::summary::Summary;
use super::timing::Timing;
use crate::election::Election;
use crate::id::Id;

type Make<M> = dyn Fn(&Boot<'_, M>) -> Result<M, StartError>;
type NewInvariant<M> = dyn Fn() -> Box<dyn Invariant<M>>;
type Input<M> = dyn Fn(&mut Dice, &[<M as Machine>::Id]) -> Option<<M as Machine>::Input>;

/// What a [`Cluster`] is made of, and what random runs do to it. Made by [`Cluster::elections`] and [`Cluster::of`].
#[must_use = "nothing runs before `check`, `run` or `build`"]
pub struct Builder<M: Machine> {
    pub(super) make: Rc<Make<M>>,
    /// Sorted, as the others are.
    pub(super) voters: Vec<M::Id>,
    pub(super) joiners: Vec<M::Id>,
    pub(super) spares: Vec<M::Id>,
    pub(super) timing: Timing,
    pub(super) conditions: Conditions,
    pub(super) faults: Faults,
    invariants: Vec<Rc<NewInvariant<M>>>,
    input: Option<Rc<Input<M>>>,
    last_input: Option<Rc<Input<M>>>,
    pub(super) shrinking: usize,
    pub(super) chart_lines: usize,
}

impl<M: Machine> Clone for Builder<M> {
    fn clone(&self) -> Self {
        Self {
            make: Rc::clone(&self.make),
            voters: self.voters.clone(),
            joiners: self.joiners.clone(),
            spares: self.spares.clone(),
            invariants: self.invariants.clone(),
            input: self.input.clone(),
            last_input: self.last_input.clone(),
            ..*self
        }
    }
}

impl<M: Machine> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("voters", &self.voters)
            .field("joiners", &self.joiners)
            .field("spares", &self.spares)
            .field("timing", &self.timing)
            .field("conditions", &self.conditions)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl<I: Id> Cluster<Election<I>> {
    /// A cluster of plain elections among these voters. Random runs also change the voters (if there are
    /// [joiners](Builder::joiners) too), transfer, resign and change priorities, and end with a wish for some of the nodes
    /// that live.
    pub fn elections(voters: impl IntoIterator<Item = I>) -> Builder<Election<I>> {
        let make = |boot: &Boot<'_, Election<I>>| Ok(Election::new(boot.config()?, boot.now)?);
        Self::of(voters, make)
            .inputs(random_command)
            .last_inputs(last_wish)
            .invariant(|| OutputsBounded::per_peer(2))
    }
}

impl<M: Machine> Cluster<M> {
    /// A cluster of these voters, each made by `make` whenever it starts.
    ///
    /// ```
    /// use streamraft::sim::Cluster;
    /// use streamraft::Election;
    ///
    /// let cluster = Cluster::of(["a", "b", "c"], |boot| {
    ///     let config = boot.config()?.leader_priority(u64::from(*boot.id == "b"));
    ///     Ok(Election::new(config, boot.now)?)
    /// });
    /// println!("{}", cluster.check(0..10)?);
    /// # Ok::<(), streamraft::sim::Failure>(())
    /// ```
    pub fn of(
        voters: impl IntoIterator<Item = M::Id>,
        make: impl Fn(&Boot<'_, M>) -> Result<M, StartError> + 'static,
    ) -> Builder<M> {
        Builder {
            make: Rc::new(make),
            voters: sorted(voters),
            joiners: Vec::new(),
            spares: Vec::new(),
            timing: Timing::default(),
            conditions: Conditions::good(),
            faults: Faults::all(),
            invariants: Vec::new(),
            input: None,
            last_input: None,
            shrinking: 1_000,
            chart_lines: 40,
        }
    }
}

impl<M: Machine> Builder<M> {
    /// Further nodes, which run from the beginning and belong to nothing yet.
    pub fn joiners(mut self, ids: impl IntoIterator<Item = M::Id>) -> Self {
        self.joiners = sorted(ids);
        self
    }

    /// Further nodes, each of which starts when another has lost its disk for good.
    pub fn spares(mut self, ids: impl IntoIterator<Item = M::Id>) -> Self {
        self.spares = sorted(ids);
        self
    }

    /// The durations that [`Boot::config`] gives to all nodes, and the invariants measure by.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// What the network and the disks are like where no fault says otherwise: at the beginning, and again when all faults
    /// are over.
    pub fn conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }

    /// What goes wrong in random runs.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Checks another invariant too; this makes a new one for every run.
    pub fn invariant<V: Invariant<M> + 'static>(mut self, new: impl Fn() -> V + 'static) -> Self {
        self.invariants.push(Rc::new(move || Box::new(new())));
        self
    }

    /// What nodes are asked in random runs; the ids are those that exist by then. Takes the place of what
    /// [`Cluster::elections`] asks.
    pub fn inputs(
        mut self,
        input: impl Fn(&mut Dice, &[M::Id]) -> Option<M::Input> + 'static,
    ) -> Self {
        self.input = Some(Rc::new(input));
        self
    }

    /// What running nodes are asked when all faults of a random run are over, the same again and again until the
    /// cluster is settled (in half of the runs not the leader), and all of them once more a while later; the ids are
    /// those of the nodes that live. Takes the place of what [`Cluster::elections`] asks.
    pub fn last_inputs(
        mut self,
        input: impl Fn(&mut Dice, &[M::Id]) -> Option<M::Input> + 'static,
    ) -> Self {
        self.last_input = Some(Rc::new(input));
        self
    }

    /// How many runs may be spent on making a failed one smaller. Default 1,000; 0 leaves it as it was.
    pub fn shrinking(mut self, runs: usize) -> Self {
        self.shrinking = runs;
        self
    }

    /// How many lines the chart of a failure has at most. Default 40.
    pub fn chart_lines(mut self, lines: usize) -> Self {
        self.chart_lines = lines;
        self
    }

    /// A cluster for a test that says itself what happens, on this seed's randomness. Its nodes have started.
    ///
    /// # Errors
    /// A node that could not be made.
    pub fn build(&self, seed: u64) -> Result<Cluster<M>, Failure> {
        Cluster::new(self, seed, true)
    }

    /// One random run: starts the nodes, lets this seed's faults happen, ends them all, and waits until the cluster has
    /// settled.
    ///
    /// # Errors
    /// The first invariant that broke, made small: with the seed, the steps that are needed, and a chart of the last
    /// messages.
    pub fn run(&self, seed: u64) -> Result<Summary, Failure> {
        run::run(self, seed)
    }

    /// A random run for each of these seeds.
    ///
    /// # Errors
    /// As [`run`](Self::run), for the first seed that fails.
    pub fn check(&self, seeds: Range<u64>) -> Result<Summary, Failure> {
        let mut all = Summary::default();
        for seed in seeds {
            all.add(&self.run(seed)?);
        }
        Ok(all)
    }

    /// All nodes, sorted.
    pub(super) fn ids(&self) -> Vec<M::Id> {
        let known = [&self.voters, &self.joiners, &self.spares];
        sorted(known.into_iter().flatten().cloned())
    }

    pub(super) fn new_invariants(&self) -> Vec<Box<dyn Invariant<M>>> {
        let mut invariants = invariant::all();
        invariants.extend(self.invariants.iter().map(|new| new()));
        invariants
    }

    pub(super) fn random_input(&self, dice: &mut Dice, ids: &[M::Id]) -> Option<M::Input> {
        self.input.as_ref().and_then(|input| input(dice, ids))
    }

    pub(super) fn random_last_input(&self, dice: &mut Dice, ids: &[M::Id]) -> Option<M::Input> {
        self.last_input.as_ref().and_then(|input| input(dice, ids))
    }

    /// For how long a run goes on after its faults are over.
    pub(super) fn aftermath(&self) -> Duration {
        invariant::Settles::limit(&self.timing)
    }
}

fn sorted<I: Ord>(ids: impl IntoIterator<Item = I>) -> Vec<I> {
    let mut ids: Vec<I> = ids.into_iter().collect();
    ids.sort();
    ids.dedup();
    ids
}
