//! In which order the links of a graph are connected.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::spec::{Graph, Link};

/// The links in an order in which each element's inputs are connected before its outputs, so that what it offers may
/// follow from what it gets; among those that may be next, as the text has them.
///
/// The grammar refuses loops; a graph made by hand may have one, and then its links come last, in any order. Time grows
/// with the links and the logarithm of their number.
pub(super) fn connect_order(graph: &Graph) -> Vec<usize> {
    // How many inputs of each element are not connected yet, and which links wait for them.
    let mut open_inputs = vec![0_usize; graph.elements.len()];
    let mut outputs: Vec<Vec<usize>> = vec![Vec::new(); graph.elements.len()];
    for (index, link) in graph.links.iter().enumerate() {
        open_inputs[link.to.element] += 1;
        outputs[link.from.element].push(index);
    }
    let free = |(index, link): (usize, &Link)| (open_inputs[link.from.element] == 0).then_some(Reverse(index));
    let mut next: BinaryHeap<Reverse<usize>> = graph.links.iter().enumerate().filter_map(free).collect();
    let mut order = Vec::with_capacity(graph.links.len());
    while let Some(Reverse(index)) = next.pop() {
        order.push(index);
        let sink = graph.links[index].to.element;
        open_inputs[sink] -= 1;
        if open_inputs[sink] == 0 {
            next.extend(outputs[sink].iter().map(|output| Reverse(*output)));
        }
    }
    if order.len() < graph.links.len() {
        order.extend((0..graph.links.len()).filter(|index| open_inputs[graph.links[*index].from.element] > 0));
    }
    order
}

/// For each element: does a link leave it?
pub(super) fn has_outputs(graph: &Graph) -> Vec<bool> {
    let mut has_outputs = vec![false; graph.elements.len()];
    for link in &graph.links {
        has_outputs[link.from.element] = true;
    }
    has_outputs
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Element, PinRef};
    use super::*;

    fn graph(elements: usize, links: &[(usize, usize)]) -> Graph {
        let element = |at| Element { name: "pass-through".into(), opens: None, label: None, settings: Vec::new(), at };
        let end = |element| PinRef { element, pin: None, at: 0 };
        let links = links.iter().map(|(from, to)| Link { from: end(*from), to: end(*to) });
        Graph { elements: (0..elements).map(element).collect(), links: links.collect() }
    }

    fn inputs_come_first(graph: &Graph) {
        let order = connect_order(graph);
        let mut place = vec![None; graph.links.len()];
        for (at, index) in order.iter().enumerate() {
            assert_eq!(place[*index].replace(at), None, "link {index} is there once");
        }
        let mut last_input = vec![None; graph.elements.len()];
        for (index, link) in graph.links.iter().enumerate() {
            last_input[link.to.element] = last_input[link.to.element].max(place[index]);
        }
        for (index, link) in graph.links.iter().enumerate() {
            assert!(place[index].is_some(), "link {index} is there");
            assert!(place[index] > last_input[link.from.element], "link {index} comes after its source's inputs");
        }
    }

    #[test]
    fn links_that_may_be_next_keep_the_order_of_the_text() {
        assert_eq!(connect_order(&graph(4, &[(1, 2), (0, 1), (1, 3), (2, 3)])), [1, 0, 2, 3]);
        assert_eq!(connect_order(&graph(2, &[])), []);
    }

    #[test]
    fn a_chain_of_2000_elements_that_is_told_backwards_is_connected_from_its_source() {
        let links: Vec<_> = (0..1999).rev().map(|at| (at, at + 1)).collect();
        let order = connect_order(&graph(2000, &links));
        assert!(order.into_iter().eq((0..1999).rev()));
    }

    #[test]
    fn two_thousand_elements_with_many_inputs_each_have_them_connected_first() {
        // Each element feeds up to five later ones; the text tells the links in a scattered order.
        let links = (0..2000).flat_map(|from| [1, 2, 7, 40, 999].map(|far| (from, from + far)));
        let mut links: Vec<_> = links.filter(|(_, to)| *to < 2000).collect();
        let count = links.len();
        for at in 0..count {
            links.swap(at, at * 7919 % count);
        }
        inputs_come_first(&graph(2000, &links));
    }

    #[test]
    fn the_links_of_a_loop_come_last_and_none_is_lost() {
        let order = connect_order(&graph(5, &[(1, 2), (2, 1), (0, 1), (3, 4), (2, 4)]));
        assert_eq!(order, [2, 3, 0, 1, 4]);
    }

    #[test]
    fn elements_that_a_link_leaves_have_outputs() {
        assert_eq!(has_outputs(&graph(4, &[(0, 1), (1, 2)])), [true, true, false, false]);
    }
}
