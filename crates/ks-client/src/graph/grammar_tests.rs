use proptest::prelude::*;

use super::*;

fn graph(text: &str) -> Graph {
    parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn refusal(text: &str) -> GrammarError {
    parse(text).expect_err(text)
}

/// Each link as "from.pin to.pin", by index.
fn links(text: &str) -> Vec<String> {
    let shown = |pin: PinRef| pin.pin.map_or(format!("{}", pin.element), |id| format!("{}.{id}", pin.element));
    graph(text).links.iter().map(|link| format!("{} {}", shown(link.from), shown(link.to))).collect()
}

fn names(text: &str) -> Vec<String> {
    graph(text).elements.into_iter().map(|element| element.name).collect()
}

#[test]
fn a_chain_has_elements_settings_and_links_in_order() {
    let graph = graph("test-camera width=1280 fps=30 ! y4m-writer path=camera.y4m");
    assert_eq!(graph.elements.len(), 2);
    assert_eq!(graph.elements[0].name, "test-camera");
    assert_eq!(graph.elements[0].settings[1].key, "fps");
    assert_eq!(graph.elements[0].settings[1].value, "30");
    assert_eq!(graph.elements[0].settings[1].at, 23);
    assert_eq!(graph.elements[1].at, 32);
    assert_eq!(graph.elements[1].setting("path").map(|s| s.value.as_str()), Some("camera.y4m"));
    assert_eq!(graph.links.len(), 1);
    assert_eq!((graph.links[0].from.element, graph.links[0].to.element), (0, 1));
    assert_eq!((graph.links[0].from.pin, graph.links[0].to.at), (None, 32));
}

#[test]
fn frames_and_seconds_are_ordinary_keys() {
    let graph = graph("test-microphone seconds=2 frames=3");
    assert_eq!(graph.elements[0].settings.len(), 2);
}

#[test]
fn white_space_of_any_kind_separates() {
    assert_eq!(links("\n a\t!\n  b \u{a0}! c "), ["0 1", "1 2"]);
}

#[test]
fn chains_stand_side_by_side() {
    assert_eq!(names("a b=1 c ! d"), ["a", "c", "d"]);
    assert_eq!(links("a b=1 c ! d"), ["1 2"]);
}

#[test]
fn a_label_refers_to_an_element_or_to_one_of_its_pins() {
    assert_eq!(links("cam ! tee name=t  t.1 ! a  t. ! b"), ["0 1", "1.1 2", "1 3"]);
    assert_eq!(links("x name=a  y name=b  a.0 ! b.17"), ["0.0 1.17"]);
    assert_eq!(links("x name=1  y  1.2 ! y ! z"), ["0.2 2", "2 3"]);
}

#[test]
fn a_label_may_be_used_before_it_is_given() {
    assert_eq!(links("t. ! b  tee name=t"), ["1 0"]);
}

#[test]
fn a_reference_inside_a_chain_joins_both_sides() {
    assert_eq!(links("tee name=t  a ! t. ! b"), ["1 0", "0 2"]);
}

#[test]
fn a_label_is_not_a_setting() {
    let graph = graph("tee name=t width=3");
    assert_eq!(graph.elements[0].label.as_deref(), Some("t"));
    assert_eq!(graph.elements[0].settings.len(), 1);
    assert_eq!((graph.labelled("t"), graph.labelled("tee")), (Some(0), None));
    assert_eq!(graph.elements[0].title(), "t");
}

#[test]
fn a_word_with_a_slash_or_ending_in_sys_is_a_driver_file() {
    let graph = graph("./cam.sys mode=1 ! out/driver.1 ! effect.sys ! null-renderer");
    let files: Vec<bool> = graph.elements.iter().map(Element::is_driver_file).collect();
    assert_eq!(files, [true, true, true, false]);
    assert_eq!(names("/tmp/a=b/cam.sys w=1"), ["/tmp/a=b/cam.sys"]);
}

#[test]
fn a_symbolic_link_is_a_name() {
    let link = r"\\?\root#media#0000#{6994ad04-93ef-11d0-a3cc-00a0c9223196}\test-camera";
    assert_eq!(names(link), [link]);
}

#[test]
fn a_word_with_a_dot_and_more_than_digits_is_a_name() {
    assert_eq!(names("v1.x 2.5mm.jack é.1"), ["v1.x", "2.5mm.jack", "é.1"]);
}

#[test]
fn quotes_keep_white_space_and_a_backslash_inside_keeps_anything() {
    let graph = graph(r#"'My Camera' title="a \"b\" \\ ! c" path='it\'s' empty= none="""#);
    let values: Vec<&str> = graph.elements[0].settings.iter().map(|s| s.value.as_str()).collect();
    assert_eq!(graph.elements[0].name, "My Camera");
    assert_eq!(values, [r#"a "b" \ ! c"#, "it's", "", ""]);
    assert_eq!(names(r#""!" "t." "a=b""#), ["!", "t.", "a=b"]);
}

#[test]
fn a_backslash_outside_of_quotes_and_a_quote_inside_a_word_are_ordinary() {
    let graph = graph(r"a path=C:\in\it's.wav expression=a=b");
    assert_eq!(graph.elements[0].settings[0].value, r"C:\in\it's.wav");
    assert_eq!(graph.elements[0].settings[1].value, "a=b");
}

#[test]
fn each_mistake_has_its_kind_place_and_word() {
    use GrammarErrorKind as K;
    let cases: &[(&str, K, usize, &str)] = &[
        ("", K::Empty, 0, ""),
        (" \n ", K::Empty, 0, ""),
        ("a ! x.", K::DanglingLabel, 4, "x"),
        ("x.3 ! a", K::DanglingLabel, 0, "x"),
        ("a name=t  b name=t", K::DuplicateLabel, 12, "t"),
        ("a ! ! b", K::EmptyLink, 4, "!"),
        ("! a", K::EmptyLink, 0, "!"),
        ("a !", K::EmptyLink, 2, "!"),
        ("!", K::EmptyLink, 0, "!"),
        ("a!b", K::LinkInsideWord, 0, "a!b"),
        ("a fps=30! b", K::LinkInsideWord, 2, "fps=30!"),
        ("a 9=1", K::BadKey, 2, "9"),
        ("a =1", K::BadKey, 2, ""),
        ("a wîdth=1", K::BadKey, 2, "wîdth"),
        ("a!b=1", K::BadKey, 0, "a!b"),
        ("a name=", K::BadLabel, 2, ""),
        ("a name=x.y", K::BadLabel, 2, "x.y"),
        ("a ! .", K::BadName, 4, "."),
        ("a ! .7", K::BadName, 4, ".7"),
        ("''", K::BadName, 0, "''"),
        ("a w=1 h=2 w=1", K::DuplicateKey, 10, "w"),
        ("a name=x name=y", K::DuplicateKey, 9, "name"),
        ("w=1 a", K::SettingWithoutElement, 0, "w=1"),
        ("a ! w=1", K::SettingWithoutElement, 4, "w=1"),
        ("a name=t  b ! t. w=1", K::ReferenceWithSettings, 17, "w=1"),
        ("a name=t  t.", K::UnlinkedReference, 10, "t."),
        ("a name=t  t.2 b", K::UnlinkedReference, 10, "t.2"),
        ("a ! t.4294967296  b name=t", K::PinNumberTooLarge, 4, "t.4294967296"),
        ("a w=\"b", K::UnterminatedQuote, 4, "\""),
        ("a 'b", K::UnterminatedQuote, 2, "'"),
        ("a 'b\\", K::UnterminatedQuote, 2, "'"),
        ("a 'b\\'", K::UnterminatedQuote, 2, "'"),
        ("a w=\"b\"c d", K::TextAfterQuote, 7, "c"),
        ("a name=t  t. ! t.1", K::SelfLink, 15, "t"),
        ("a name=t ! t.", K::SelfLink, 11, "t"),
        ("a name=t ! b ! t.", K::Loop, 15, "t ! b ! t"),
    ];
    for (text, kind, at, word) in cases {
        let error = refusal(text);
        assert_eq!((error.kind, error.at, error.word.as_str()), (*kind, *at, *word), "{text}");
        assert!(!error.hint.is_empty() && error.to_string().lines().count() == 3, "{error}");
    }
}

#[test]
fn an_error_shows_the_message_the_text_and_a_caret() {
    assert_eq!(
        refusal("test-camera ! x.").to_string(),
        "no element has the label `x`: label an element with name=x\n\
         test-camera ! x.\n\
         \u{20}             ^^"
    );
}

#[test]
fn a_loop_is_named_wherever_the_graph_has_one() {
    let error = refusal("cam ! a name=a ! b name=b ! c name=c ! out  c. ! a.");
    assert_eq!(error.kind, GrammarErrorKind::Loop);
    assert_eq!(error.at, "cam ! a name=a ! b name=b ! c name=c ! out  c. ! ".len());
    let mut members: Vec<&str> = error.word.split(" ! ").skip(1).collect();
    members.sort_unstable();
    assert_eq!(members, ["a", "b", "c"]);
}

#[test]
fn two_ways_to_the_same_element_are_not_a_loop() {
    assert_eq!(links("tee name=t ! mux name=m  t. ! m. ! out").len(), 3);
}

#[test]
fn the_limits_are_where_they_are_said_to_be() {
    assert!(parse(&format!("{}a", " ".repeat(MAX_TEXT_BYTES - 1))).is_ok());
    assert_eq!(refusal(&format!("{}a", " ".repeat(MAX_TEXT_BYTES))).kind, GrammarErrorKind::TooLong);
    assert_eq!(graph(&"a ".repeat(MAX_ELEMENTS)).elements.len(), MAX_ELEMENTS);
    let error = refusal(&"a ".repeat(MAX_ELEMENTS + 1));
    assert_eq!((error.kind, error.at), (GrammarErrorKind::TooManyElements, 2 * MAX_ELEMENTS));
}

#[test]
fn the_largest_texts_are_read_whatever_they_repeat() {
    for unit in ["a ! ", "t. ! ", "t.1 ", "k=1 ", "'", "\"\\", "=", "é", "! ", "a name=t ! t. "] {
        let text = format!("tee name=t {}", unit.repeat((MAX_TEXT_BYTES - 11) / unit.len()));
        if let Err(error) = parse(&text) {
            assert!(error.to_string().len() < 1024, "{error}");
        }
    }
    let settings: String = (0..8000).map(|index| format!("k{index}=1 ")).collect();
    assert!(parse(&format!("a {}", &settings[..60_000])).is_ok());
}

#[test]
fn a_graph_shows_as_text_that_is_as_short_as_it_was() {
    for text in [
        "test-camera width=1280 ! y4m-writer path=camera.y4m",
        "a b c ! d",
        "cam ! tee name=t ! a t.1 ! b",
        "x name=a y name=b a.0 ! b.17",
        "tee name=t a ! t. ! b",
        r#""My Camera" title="a \"b\" \\" none="" ! "t.""#,
    ] {
        assert_eq!(graph(text).to_string(), text);
    }
}

#[test]
fn an_element_can_be_appended() {
    let mut graph = graph("test-camera fps=30");
    assert_eq!(graph.append(0, "null-renderer"), 1);
    assert_eq!(graph.to_string(), "test-camera fps=30 ! null-renderer");
}

/// Texts that are close to graphs: words that the grammar knows, in any order.
fn near_graph() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => Just("!".to_owned()),
        4 => "[a-c]",
        2 => "name=[t-v]",
        4 => "[t-v]\\.[0-2]?",
        2 => "[a-e]=[a-z\"'\\\\=.]{0,4}",
        1 => "[a-e]=\"[a-z !\\\\\\\\']{0,6}\"",
        1 => "'[a-z !.=/é]{1,5}'",
        1 => "[a-z./]{1,5}\\.sys",
        1 => "[!-~]{1,3}",
    ];
    prop::collection::vec(word, 0..24).prop_map(|words| words.join(" "))
}

/// Graphs that are right: each label is given somewhere, each link leads to a later element.
fn right_graph() -> impl Strategy<Value = String> {
    let element = ("[a-z!.=' /é\\\\\"]{1,8}", any::<bool>(), prop::collection::vec("[^\u{0}]{0,6}", 0..3));
    let elements = prop::collection::vec(element, 1..8);
    (elements, prop::collection::vec((0..8_usize, 0..8_usize, prop::option::of(0..3_u32), any::<bool>()), 0..10))
        .prop_map(|(elements, links)| {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let mut text = String::new();
            for (index, (name, is_chained, values)) in elements.iter().enumerate() {
                text += &format!("{} name=n{index}", quoted(name));
                for (key, value) in values.iter().enumerate() {
                    text += &format!(" k{key}={}", quoted(value));
                }
                text += if *is_chained && index + 1 < elements.len() { " ! " } else { "  " };
            }
            for (a, b, pin, is_early) in links {
                let (from, to) = (a.min(b) % elements.len(), a.max(b) % elements.len());
                if from < to {
                    let pin = pin.map(|pin| pin.to_string()).unwrap_or_default();
                    let link = format!("n{from}.{pin} ! n{to}. ");
                    text = if is_early { link + &text } else { text + &link };
                }
            }
            text
        })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        if let Err(error) = parse(&text) {
            prop_assert!(error.at <= text.len());
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_near_graph_is_refused_at_a_place_in_it_or_shows_as_itself(text in near_graph()) {
        match parse(&text) {
            Ok(graph) => prop_assert_eq!(&parse(&graph.to_string()).expect("what was shown parses"), &graph),
            Err(error) => prop_assert!(error.at <= text.len() && !error.to_string().is_empty()),
        }
    }

    #[test]
    fn a_right_graph_shows_as_text_that_parses_to_it(text in right_graph()) {
        let graph = parse(&text);
        prop_assert!(graph.is_ok(), "{}\n{}", text, graph.unwrap_err());
        let graph = graph.expect("checked");
        let shown = graph.to_string();
        prop_assert_eq!(&parse(&shown).expect("what was shown parses"), &graph, "{}", shown);
    }
}
