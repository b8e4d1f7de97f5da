//! A DFA as the bytes of a [`Joint`]; the format is described there.

use std::collections::{HashMap, HashSet};

use proxy_runtime::router::regex::{ENDS, Joint, RUN};
use regex_automata::Anchored;
use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

/// A table, and what its expressions have in common.
pub(super) struct Encoded {
    /// The table.
    pub(super) joint: Joint,
    /// The expressions that match in one path, as sorted sets of their numbers; sets of one are left out.
    pub(super) sharing: HashSet<Vec<u32>>,
}

/// A state of the DFA, with what is dead left out.
struct State {
    /// The expressions that match if the text ends here.
    matches: Vec<u32>,
    /// From byte to byte, inclusive, and the state that these lead to; sorted.
    ranges: Vec<(u8, u8, usize)>,
    /// How many ranges lead to it, and one more if walks begin at it.
    entries: usize,
}

/// A state as it will stand in the table: all of its way that does not branch, then the state where that ends.
struct PlacedState<'a> {
    text: Vec<u8>,
    state: &'a State,
    /// How wide places are in it.
    width: usize,
}

/// Writes a DFA down. `None`: it needs more expressions or ranges at one place, or more bytes, than the format can count.
pub(super) fn encode(dfa: &impl Automaton, classes: &[(u8, u8)], anchored: bool) -> Option<Encoded> {
    let states = read(dfa, classes, anchored);
    // In the order of a walk that takes the first way on, so that what is read together stands together.
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

/// The width of places that are counted from the beginning.
const ABSOLUTE: usize = 4;

/// Whether ranges are of one byte each, without a gap.
fn is_run(ranges: &[(u8, u8, usize)]) -> bool {
    ranges.len() > 1
        && ranges.iter().zip(ranges[0].0..=u8::MAX).all(|(&(from, to, _), byte)| from == to && from == byte)
}

/// Finds the widths of all places, which depend on where states stand, which depends on the widths; they only grow, so this
/// ends. Returns where states stand.
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
    /// In bytes.
    fn size(&self) -> usize {
        let State { matches, ranges, .. } = self.state;
        let bounds = if is_run(ranges) { 2 } else { 2 * ranges.len() };
        let list = if matches.is_empty() { 0 } else { 2 + 4 * matches.len() };
        1 + self.text.len() + 2 + bounds + self.width * ranges.len() + list
    }
}

/// The states that can be reached, the first of which is where walks begin.
fn read(dfa: &impl Automaton, classes: &[(u8, u8)], anchored: bool) -> Vec<State> {
    let anchored = if anchored { Anchored::Yes } else { Anchored::No };
    // It was built with this start.
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

/// Goes on from a state as long as there is one way, which nothing else joins.
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
