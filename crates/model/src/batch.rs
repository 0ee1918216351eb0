//! Requests that wait for the same model are computed together.
//!
//! [`Batched`] is a model like any other to its callers. A request that finds it idle is computed at once and alone, so nobody
//! ever waits for company; those that come meanwhile are computed together when it is free again, as far as they fit each other.
//! For networks whose time goes into reading weights, eight rows cost little more than one.
//!
//! Not every model may be batched. One that mixes rows, or that scales activations by the largest of a call, answers
//! differently in company: [`Batched::over`] runs the golden test in company and refuses such a one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::bundle::BundleError;
use crate::engine::{EngineError, Runnable};
use crate::golden::{Golden, GoldenError, ordered};
use crate::signature::{Dim, TensorSpec};
use crate::tensor::{DataType, RawError, Tensor};

/// Calls of the golden test in whose company each of its calls is tried.
const COMPANY: usize = 3;

/// A model that computes waiting requests together.
pub struct Batched {
    model: Arc<dyn Runnable>,
    rows_max: usize,
    queue: Mutex<Queue>,
    turned: Condvar,
}

/// Why a model is not batched.
#[derive(Debug, thiserror::Error)]
pub enum NotBatched {
    /// An input or output has no dimension for rows, or is of texts.
    #[error("'{0}' has no first dimension that may vary, or is of texts")]
    Form(String),
    /// The bundle's golden test cannot be read.
    #[error("reading its golden test")]
    Bundle(#[source] Box<BundleError>),
    /// It answers differently in company.
    #[error("it answers differently in company")]
    Company(#[source] Box<GoldenError>),
}

impl From<BundleError> for NotBatched {
    fn from(error: BundleError) -> Self {
        Self::Bundle(Box::new(error))
    }
}

#[derive(Default)]
struct Queue {
    is_running: bool,
    next: u64,
    waiting: Vec<Waiting>,
    answers: BTreeMap<u64, Answer>,
}

type Answer = Result<Vec<Tensor>, EngineError>;

struct Waiting {
    ticket: u64,
    inputs: Vec<Tensor>,
}

impl Batched {
    /// `model`, which may compute up to `rows_max` rows at once, if it passes the golden test in company as it does alone.
    ///
    /// # Errors
    /// It may not be batched, and why.
    pub fn over(model: Arc<dyn Runnable>, rows_max: usize, golden: &Golden) -> Result<Self, NotBatched> {
        let all = model.inputs().iter().chain(model.outputs());
        if let Some(spec) = all.into_iter().find(|spec| !has_rows(spec)) {
            return Err(NotBatched::Form(spec.name.clone()));
        }
        let company = |error| NotBatched::Company(Box::new(error));
        let others = golden.cases.iter().enumerate().rev().take(COMPANY);
        let others = others.map(|(at, case)| ordered(at, model.inputs(), &case.inputs));
        for other in others.collect::<Result<Vec<_>, _>>().map_err(company)? {
            let accompanied = Accompanied { model: &*model, company: &other };
            golden.check(&accompanied).map_err(company)?;
        }
        Ok(Self { model, rows_max, queue: Mutex::default(), turned: Condvar::new() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes what waits, from the first on.
    fn turn(&self, mut queue: MutexGuard<'_, Queue>) -> Turn<'_> {
        queue.is_running = true;
        let jobs = queue.take(self.rows_max);
        drop(queue);
        let turn = Turn(self);
        let tickets: Vec<u64> = jobs.iter().map(|job| job.ticket).collect();
        let inputs: Vec<&[Tensor]> = jobs.iter().map(|job| &job.inputs[..]).collect();
        let answers = together(&*self.model, &inputs);
        self.queue().answers.extend(tickets.into_iter().zip(answers));
        turn
    }
}

/// The model is in use; when this is dropped, it is free again.
struct Turn<'a>(&'a Batched);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.queue().is_running = false;
        self.0.turned.notify_all();
    }
}

impl Runnable for Batched {
    fn keeps_company(&self) -> bool {
        true
    }

    fn inputs(&self) -> &[TensorSpec] {
        self.model.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.model.outputs()
    }

    fn run(&self, inputs: &[Tensor]) -> Answer {
        if rows(inputs).is_none_or(|rows| rows >= self.rows_max) {
            return self.model.run(inputs);
        }
        let mut queue = self.queue();
        if !queue.is_running && queue.waiting.is_empty() {
            queue.is_running = true;
            drop(queue);
            let _turn = Turn(self);
            return self.model.run(inputs);
        }
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push(Waiting { ticket, inputs: inputs.to_vec() });
        loop {
            if let Some(answer) = queue.answers.remove(&ticket) {
                return answer;
            }
            if queue.is_running {
                queue = self.turned.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else if !queue.waiting.iter().any(|job| job.ticket == ticket) {
                // Whoever took it did not come to its end.
                drop(queue);
                return self.model.run(inputs);
            } else {
                drop(self.turn(queue));
                queue = self.queue();
            }
        }
    }
}

impl Queue {
    /// The first that waits, with those after it that fit it.
    fn take(&mut self, rows_max: usize) -> Vec<Waiting> {
        let (mut taken, mut total): (Vec<Waiting>, usize) = (Vec::new(), 0);
        let mut at = 0;
        while at < self.waiting.len() {
            let job = &self.waiting[at];
            let more = rows(&job.inputs).unwrap_or(0);
            let fits = taken.first().is_none_or(|first| is_alike(&first.inputs, &job.inputs));
            if fits && (taken.is_empty() || total + more <= rows_max) {
                total += more;
                taken.push(self.waiting.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }
}

/// Runs a call together with another, and answers with its own rows.
struct Accompanied<'a> {
    model: &'a dyn Runnable,
    company: &'a [Tensor],
}

impl Runnable for Accompanied<'_> {
    fn inputs(&self) -> &[TensorSpec] {
        self.model.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.model.outputs()
    }

    fn run(&self, inputs: &[Tensor]) -> Answer {
        match is_alike(inputs, self.company) {
            true => together(self.model, &[self.company, inputs]).swap_remove(1),
            false => self.model.run(inputs),
        }
    }
}

/// The answers to calls of one form, computed in one run; each by itself where that fails.
fn together(model: &dyn Runnable, calls: &[&[Tensor]]) -> Vec<Answer> {
    if let [call] = calls {
        return vec![model.run(call)];
    }
    let counts: Vec<usize> = calls.iter().map(|call| rows(call).unwrap_or(0)).collect();
    let joined = join(calls).ok().and_then(|inputs| model.run(&inputs).ok());
    let parted = joined.and_then(|outputs| part(&outputs, &counts));
    match parted {
        Some(answers) => answers.into_iter().map(Ok).collect(),
        None => calls.iter().map(|call| model.run(call)).collect(),
    }
}

fn join(calls: &[&[Tensor]]) -> Result<Vec<Tensor>, RawError> {
    let one = |at: usize| {
        let first = &calls[0][at];
        let (mut bytes, mut count) = (Vec::new(), 0);
        for call in calls {
            bytes.extend(call[at].to_le_bytes());
            count += call[at].rows();
        }
        let shape: Vec<usize> = std::iter::once(count).chain(first.shape()[1..].iter().copied()).collect();
        Tensor::from_le_bytes(first.datatype(), &shape, &bytes)
    };
    (0..calls[0].len()).map(one).collect()
}

/// Every call's outputs; none if an output has other rows than the inputs.
fn part(outputs: &[Tensor], counts: &[usize]) -> Option<Vec<Vec<Tensor>>> {
    let total: usize = counts.iter().sum();
    let mut parted: Vec<Vec<Tensor>> = counts.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for output in outputs {
        let (rows, tail) = output.shape().split_first().filter(|(rows, _)| **rows == total)?;
        let bytes = output.to_le_bytes();
        let row_bytes = bytes.len() / (*rows).max(1);
        let mut rest = &bytes[..];
        for (count, own) in counts.iter().zip(&mut parted) {
            let (head, after) = rest.split_at_checked(count * row_bytes)?;
            let shape: Vec<usize> = std::iter::once(*count).chain(tail.iter().copied()).collect();
            own.push(Tensor::from_le_bytes(output.datatype(), &shape, head).ok()?);
            rest = after;
        }
    }
    Some(parted)
}

fn has_rows(spec: &TensorSpec) -> bool {
    spec.datatype != DataType::Bytes && matches!(spec.shape.first(), Some(Dim::Symbolic(_)))
}

/// The rows of a call whose inputs all have as many.
fn rows(inputs: &[Tensor]) -> Option<usize> {
    let rows = *inputs.first()?.shape().first()?;
    let is_even = inputs.iter().all(|input| input.shape().first() == Some(&rows));
    (is_even && rows > 0 && inputs.iter().all(|input| input.datatype() != DataType::Bytes)).then_some(rows)
}

/// Whether two calls differ in nothing but their rows.
fn is_alike(one: &[Tensor], other: &[Tensor]) -> bool {
    let tail = |tensor: &Tensor| (tensor.datatype(), tensor.shape().get(1..).map(<[usize]>::to_vec));
    let both = rows(one).is_some() && rows(other).is_some() && one.len() == other.len();
    both && one.iter().zip(other).all(|(one, other)| tail(one) == tail(other))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::engine::EngineErrorKind;
    use crate::golden::Tolerance;

    /// Doubles every value; slowly, and says how often it ran. Refuses rows that begin with a negative value.
    struct Doubling {
        inputs: Vec<TensorSpec>,
        outputs: Vec<TensorSpec>,
        runs: AtomicUsize,
        rows_seen: Mutex<Vec<usize>>,
        mixes: bool,
        began: Barrier,
    }

    impl Doubling {
        fn new(mixes: bool) -> Arc<Self> {
            let spec = |name: &str| {
                TensorSpec::new(name, DataType::Fp32, vec![Dim::Symbolic("n".into()), Dim::Fixed(2)])
            };
            Arc::new(Self {
                inputs: vec![spec("x")],
                outputs: vec![spec("y")],
                runs: AtomicUsize::new(0),
                rows_seen: Mutex::default(),
                mixes,
                began: Barrier::new(2),
            })
        }

        fn golden(self: &Arc<Self>) -> Golden {
            let calls = [vec![row(1.0)], vec![row(5.0)]];
            Golden::record(&**self, &calls, Tolerance::default()).unwrap()
        }
    }

    impl Runnable for Doubling {
        fn inputs(&self) -> &[TensorSpec] {
            &self.inputs
        }

        fn outputs(&self) -> &[TensorSpec] {
            &self.outputs
        }

        fn run(&self, inputs: &[Tensor]) -> Answer {
            let values = inputs[0].as_f32().unwrap();
            self.runs.fetch_add(1, Ordering::SeqCst);
            self.rows_seen.lock().unwrap().push(inputs[0].rows());
            if values[0] == 100.0 {
                // The test lets others queue up behind this one.
                self.began.wait();
                self.began.wait();
            }
            if values.chunks(2).any(|row| row[0] < 0.0) {
                return Err(EngineError::new("test", EngineErrorKind::InvalidInput, "negative".to_owned()));
            }
            let shift = if self.mixes { values.iter().copied().fold(0.0, f32::max) } else { 0.0 };
            let doubled: Vec<f32> = values.iter().map(|value| 2.0 * value + shift).collect();
            Ok(vec![Tensor::from_rows(inputs[0].rows(), 2, doubled).unwrap()])
        }
    }

    fn row(value: f32) -> Tensor {
        Tensor::from_rows(1, 2, vec![value, value]).unwrap()
    }

    /// The answers to these rows, all of which wait behind one that is being computed.
    fn ask_behind(batched: &Batched, slow: &Doubling, values: &[f32]) -> Vec<Result<f32, String>> {
        std::thread::scope(|scope| {
            let first = scope.spawn(|| batched.run(&[row(100.0)]).unwrap());
            slow.began.wait();
            let asked: Vec<_> =
                values.iter().map(|value| scope.spawn(|| batched.run(&[row(*value)]))).collect();
            while batched.queue().waiting.len() < values.len() {
                std::thread::yield_now();
            }
            slow.began.wait();
            first.join().unwrap();
            let told = asked.into_iter().map(|asked| asked.join().unwrap());
            told.map(|answer| answer.map(|y| y[0].as_f32().unwrap()[1]).map_err(|e| e.to_string())).collect()
        })
    }

    #[test]
    fn those_who_wait_are_computed_together_and_each_gets_its_own() {
        let model = Doubling::new(false);
        let batched = Batched::over(model.clone(), 3, &model.golden()).unwrap();
        model.rows_seen.lock().unwrap().clear();
        let answers = ask_behind(&batched, &model, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(answers, [Ok(2.0), Ok(4.0), Ok(6.0), Ok(8.0)]);
        assert_eq!(
            *model.rows_seen.lock().unwrap(),
            [1, 3, 1],
            "alone, then as many as allowed, then the rest"
        );
    }

    #[test]
    fn one_that_fails_is_alone_in_it() {
        let model = Doubling::new(false);
        let batched = Batched::over(model.clone(), 8, &model.golden()).unwrap();
        let answers = ask_behind(&batched, &model, &[1.0, -2.0, 3.0]);
        assert_eq!((answers[0].clone(), answers[2].clone()), (Ok(2.0), Ok(6.0)));
        assert!(answers[1].as_ref().is_err_and(|why| why.contains("negative")));
    }

    #[test]
    fn a_model_that_mixes_rows_is_not_batched() {
        let model = Doubling::new(true);
        let refusal = Batched::over(model.clone(), 8, &model.golden()).err().unwrap();
        assert!(matches!(refusal, NotBatched::Company(_)), "{refusal}");
    }

    #[test]
    fn a_lone_request_and_a_large_one_run_as_they_are() {
        let model = Doubling::new(false);
        let batched = Batched::over(model.clone(), 2, &model.golden()).unwrap();
        let before = model.runs.load(Ordering::SeqCst);
        let many = Tensor::from_rows(3, 2, vec![1.0; 6]).unwrap();
        assert_eq!(batched.run(&[many]).unwrap()[0].rows(), 3);
        assert_eq!(batched.run(&[row(2.0)]).unwrap()[0].as_f32().unwrap(), [4.0, 4.0]);
        assert_eq!(model.runs.load(Ordering::SeqCst), before + 2);
        assert!(batched.queue().answers.is_empty() && !batched.queue().is_running);
    }
}
