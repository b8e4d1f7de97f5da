//! Encodes a DFA as the bytes of a [`Joint`], whose format is described there.

use std::collections::{HashMap, HashSet};

use proxy_runtime::router::regex::{ENDS, Joint, RUN};
use regex_automata::Anchored;
use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

/// A table, and which of its expressions can match together.
pub(super) struct Encoded {
    /// The table.
    pub(super) joint: Joint,
    /// The sets of expressions that match a common path, as sorted numbers; singletons are omitted.
    pub(super) sharing: HashSet<Vec<u32>>,
}

/// A state of the DFA, without dead transitions.
struct State {
    /// The expressions that match if the text ends here.
    matches: Vec<u32>,
    /// Inclusive byte ranges, with their next states; sorted.
    ranges: Vec<(u8, u8, usize)>,
    /// The number of ranges that lead to it, plus one for the start state.
    entries: usize,
}

/// A state of the table: a chain of states without branches, and the state at its end.
struct PlacedState<'a> {
    text: Vec<u8>,
    state: &'a State,
    /// The width of its places.
    width: usize,
}

/// Encodes a DFA. `None`: it has more expressions or ranges in a state, or more bytes, than the format allows.
pub(super) fn encode(dfa: &impl Automaton, classes: &[(u8, u8)], anchored: bool) -> Option<Encoded> {
    let states = read(dfa, classes, anchored);
    // In depth-first order, so that states that are read together are adjacent.
    let (mut open, mut placed, mut numbers) = (vec![0], Vec::new(), HashMap::new());
    while let Some(entry) = open.pop() {
        if numbers.contains_key(&entry) {
            continue;
        }
        numbers.insert(entry, placed.len());
        let next = straight(&states, entry);
        open.extend(next.state.ranges.iter().rev().map(|&(_, _, next)| next));
        placed.push(next);
    }
    let offsets = settle(&mut placed, &numbers);
    let (mut bytes, mut sharing) = (Vec::new(), HashSet::new());
    for (at, PlacedState { text, state: State { matches, ranges, .. }, width }) in offsets.iter().zip(&placed) {
        bytes.push(u8::try_from(text.len()).ok()?);
        bytes.extend(text);
        bytes.push(*width as u8 | if is_run(ranges) { RUN } else { 0 } | if matches.is_empty() { 0 } else { ENDS });
        bytes.push(u8::try_from(ranges.len()).ok()?);
        match ranges.as_slice() {
            [(from, ..), .., (_, to, _)] if is_run(ranges) => bytes.extend([*from, *to]),
            ranges => bytes.extend(ranges.iter().flat_map(|&(from, to, _)| [from, to])),
        }
        for (_, _, next) in ranges {
            let place = offsets[numbers[next]] - if *width == ABSOLUTE { 0 } else { *at };
            bytes.extend(&u32::try_from(place).ok()?.to_le_bytes()[..*width]);
        }
        if !matches.is_empty() {
            bytes.extend(u16::try_from(matches.len()).ok()?.to_le_bytes());
            bytes.extend(matches.iter().flat_map(|number| number.to_le_bytes()));
        }
        if matches.len() > 1 {
            sharing.insert(matches.clone());
        }
    }
    Some(Encoded { joint: Joint::new(bytes.into()), sharing })
}

/// The width of absolute places.
const ABSOLUTE: usize = 4;

/// Returns whether ranges are consecutive single bytes.
fn is_run(ranges: &[(u8, u8, usize)]) -> bool {
    ranges.len() > 1
        && ranges.iter().zip(ranges[0].0..=u8::MAX).all(|(&(from, to, _), byte)| from == to && from == byte)
}

/// Determines the widths of all places, which depend on the offsets of states, which depend on the widths; they only grow,
/// so this terminates. Returns the offsets.
fn settle(placed: &mut [PlacedState<'_>], numbers: &HashMap<usize, usize>) -> Vec<usize> {
    loop {
        let mut size = 0;
        let offsets: Vec<usize> = placed
            .iter()
            .map(|placed| {
                size += placed.size();
                size - placed.size()
            })
            .collect();
        let mut grown = false;
        for (at, placed) in offsets.iter().zip(&mut *placed) {
            let needed = placed.state.ranges.iter().map(|(_, _, next)| match offsets[numbers[next]].checked_sub(*at) {
                Some(0..=0xFF) => 1,
                Some(0..=0xFFFF) => 2,
                _ => ABSOLUTE,
            });
            let needed = needed.max().unwrap_or(1);
            grown |= needed > placed.width;
            placed.width = placed.width.max(needed);
        }
        if !grown {
            return offsets;
        }
    }
}

impl PlacedState<'_> {
    /// Returns its size in bytes.
    fn size(&self) -> usize {
        let State { matches, ranges, .. } = self.state;
        let bounds = if is_run(ranges) { 2 } else { 2 * ranges.len() };
        let list = if matches.is_empty() { 0 } else { 2 + 4 * matches.len() };
        1 + self.text.len() + 2 + bounds + self.width * ranges.len() + list
    }
}

/// Returns the reachable states; the first one is the start state.
fn read(dfa: &impl Automaton, classes: &[(u8, u8)], anchored: bool) -> Vec<State> {
    let anchored = if anchored { Anchored::Yes } else { Anchored::No };
    // The DFA was built with this start.
    let Ok(first) = dfa.start_state(&start::Config::new().anchored(anchored)) else { return Vec::new() };
    let (mut ids, mut numbers) = (vec![first], HashMap::from([(first, 0)]));
    let mut states = vec![State::at(dfa, first)];
    states[0].entries = 1;
    let mut at = 0;
    while let Some(&id) = ids.get(at) {
        let mut ranges: Vec<(u8, u8, usize)> = Vec::new();
        for &(from, to) in classes {
            let next = dfa.next_state(id, from);
            if dfa.is_dead_state(next) {
                continue;
            }
            let next = *numbers.entry(next).or_insert_with(|| {
                ids.push(next);
                states.push(State::at(dfa, next));
                states.len() - 1
            });
            match ranges.last_mut() {
                Some((_, end, same)) if *same == next && end.checked_add(1) == Some(from) => *end = to,
                _ => ranges.push((from, to, next)),
            }
        }
        ranges.iter().for_each(|&(_, _, next)| states[next].entries += 1);
        states[at].ranges = ranges;
        at += 1;
    }
    states
}

impl State {
    fn at(dfa: &impl Automaton, id: StateID) -> State {
        let end = dfa.next_eoi_state(id);
        let count = if dfa.is_match_state(end) { dfa.match_len(end) } else { 0 };
        let mut matches: Vec<u32> = (0..count).map(|at| dfa.match_pattern(end, at).as_u32()).collect();
        matches.sort_unstable();
        State { matches, ranges: Vec::new(), entries: 0 }
    }
}

/// Follows a chain from a state as long as there is a single way, which no other state joins.
fn straight(states: &[State], entry: usize) -> PlacedState<'_> {
    let mut placed = PlacedState { text: Vec::new(), state: &states[entry], width: 1 };
    while placed.text.len() < usize::from(u8::MAX)
        && let State { matches, ranges, .. } = placed.state
        && matches.is_empty()
        && let &[(from, to, next)] = ranges.as_slice()
        && from == to
        && states[next].entries == 1
    {
        placed.text.push(from);
        placed.state = &states[next];
    }
    placed
}
