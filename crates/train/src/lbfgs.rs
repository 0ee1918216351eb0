//! Limited-memory BFGS for smooth convex functions.
//!
//! The two-loop recursion of Nocedal and Wright, *Numerical Optimization* (2nd ed.), algorithm 7.4, with a
//! bisection line search for the weak Wolfe conditions (Lewis and Overton 2013). Deliberately missing: bounds,
//! constraints, non-smooth terms.

use std::collections::VecDeque;

const MEMORY_PAIRS: usize = 10;
const LINE_SEARCH_STEPS_MAX: usize = 40;
const SUFFICIENT_DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) iterations_max: usize,
    /// Stop once no component of the gradient is larger.
    pub(crate) gradient_max: f64,
}

/// Where the search ended.
#[derive(Clone, Debug)]
pub(crate) struct Minimum {
    pub(crate) at: Vec<f64>,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests look at it"))]
    pub(crate) value: f64,
    pub(crate) iterations: usize,
}

struct Point {
    at: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    curvature: f64,
}

/// Minimises `function(at, gradient_out) -> value` from `start`.
pub(crate) fn minimise(
    start: Vec<f64>,
    limits: Limits,
    function: &mut dyn FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let mut point = evaluate(start, function);
    let mut memory: VecDeque<Pair> = VecDeque::with_capacity(MEMORY_PAIRS);
    let mut iterations = 0;
    while iterations < limits.iterations_max && !flat(&point.gradient, limits.gradient_max) {
        let direction = descent(&point.gradient, &memory);
        let Some(next) = line_search(&point, &direction, function) else { break };
        remember(&mut memory, &point, &next);
        point = next;
        iterations += 1;
    }
    Minimum { at: point.at, value: point.value, iterations }
}

fn evaluate(at: Vec<f64>, function: &mut dyn FnMut(&[f64], &mut [f64]) -> f64) -> Point {
    let mut gradient = vec![0.0; at.len()];
    let value = function(&at, &mut gradient);
    Point { at, value, gradient }
}

fn flat(gradient: &[f64], gradient_max: f64) -> bool {
    gradient.iter().all(|slope| slope.abs() <= gradient_max)
}

/// Minus the inverse Hessian estimate times the gradient.
fn descent(gradient: &[f64], memory: &VecDeque<Pair>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
    let mut weights = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let weight = dot(&pair.step, &direction) / pair.curvature;
        add_scaled(&mut direction, -weight, &pair.change);
        weights.push(weight);
    }
    if let Some(last) = memory.back() {
        let scale = last.curvature / dot(&last.change, &last.change);
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    for (pair, weight) in memory.iter().zip(weights.into_iter().rev()) {
        let back = dot(&pair.change, &direction) / pair.curvature;
        add_scaled(&mut direction, weight - back, &pair.step);
    }
    direction
}

/// A point along `direction` that meets the weak Wolfe conditions, or at least decreases enough.
fn line_search(
    from: &Point,
    direction: &[f64],
    function: &mut dyn FnMut(&[f64], &mut [f64]) -> f64,
) -> Option<Point> {
    let slope = dot(&from.gradient, direction);
    let (mut low, mut high, mut length) = (0.0, f64::INFINITY, 1.0);
    let mut best: Option<Point> = None;
    for _ in 0..LINE_SEARCH_STEPS_MAX {
        let mut at = from.at.clone();
        add_scaled(&mut at, length, direction);
        let point = evaluate(at, function);
        let decreases = point.value <= from.value + SUFFICIENT_DECREASE * length * slope;
        if !(slope < 0.0 && decreases) {
            high = length;
        } else if dot(&point.gradient, direction) < CURVATURE * slope {
            low = length;
            best = Some(point);
        } else {
            return Some(point);
        }
        length = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * low };
    }
    best
}

fn remember(memory: &mut VecDeque<Pair>, from: &Point, to: &Point) {
    let difference = |a: &[f64], b: &[f64]| -> Vec<f64> { b.iter().zip(a).map(|(b, a)| b - a).collect() };
    let step = difference(&from.at, &to.at);
    let change = difference(&from.gradient, &to.gradient);
    let curvature = dot(&step, &change);
    if curvature <= f64::EPSILON * dot(&change, &change) {
        return;
    }
    if memory.len() == MEMORY_PAIRS {
        memory.pop_front();
    }
    memory.push_back(Pair { step, change, curvature });
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(to: &mut [f64], scale: f64, values: &[f64]) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += scale * value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { iterations_max: 500, gradient_max: 1e-9 };

    #[test]
    fn finds_the_bottom_of_rosenbrocks_valley() {
        let minimum = minimise(vec![-1.2, 1.0], LIMITS, &mut |at, gradient| {
            let (a, b) = (1.0 - at[0], at[1] - at[0] * at[0]);
            gradient[0] = -2.0 * a - 400.0 * at[0] * b;
            gradient[1] = 200.0 * b;
            a * a + 100.0 * b * b
        });
        assert!(minimum.at.iter().all(|value| (value - 1.0).abs() < 1e-6), "{minimum:?}");
        assert!(minimum.iterations < 100 && minimum.value < 1e-12);
    }

    proptest! {
        #[test]
        fn solves_any_diagonal_quadratic(
            terms in prop::collection::vec((1e-2..1e2_f64, -10.0..10.0_f64), 1..20)
        ) {
            let minimum = minimise(vec![0.0; terms.len()], LIMITS, &mut |at, gradient| {
                let mut value = 0.0;
                for ((slope, at), (scale, centre)) in gradient.iter_mut().zip(at).zip(&terms) {
                    *slope = scale * (at - centre);
                    value += 0.5 * scale * (at - centre).powi(2);
                }
                value
            });
            for (at, (_, centre)) in minimum.at.iter().zip(&terms) {
                prop_assert!((at - centre).abs() < 1e-4, "{} {}", at, centre);
            }
        }
    }
}
