//! Requirements of the five pages that no other test shows; docs/mission.md names them by number.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use ks_abi::*;
use ks_client::Client;
use ks_client::graph::grammar;
use ks_client::graph::run::{GraphRunner, Options};
use ks_io::sync::Arc;
use ks_io::{Services, Transport};
use ks_stream::{Device, FilterDescriptor, PinDescriptor};
use support::specimen::{self, LOOPED, OUT, bench, both_accesses, pin_create};
use support::{Kind, World, pin, world};

/// One more filter of the world's engine, with one output pin.
fn source_with(world: &World, name: &'static str, edit: impl FnOnce(&mut PinDescriptor)) -> Arc<Device> {
    let mut out = pin(KsPinDataFlow::OUT, KsPinCommunication::BOTH);
    edit(&mut out);
    let kind = Arc::new(Kind(world.source.clone()));
    let descriptor = FilterDescriptor::new(name, name, &[KSCATEGORY_CAPTURE], vec![out], kind);
    Device::start(&world.io, name, vec![Arc::new(descriptor)]).unwrap()
}

fn build(world: &World, graph: &str) -> Result<GraphRunner, String> {
    let client = Client::new(world.session.clone());
    GraphRunner::build(&client, &grammar::parse(graph).unwrap(), Options::default()).map_err(|error| error.to_string())
}

#[test]
fn a_graph_is_built_by_the_interfaces_that_both_ends_list() {
    let world = world(Services::virtual_time(1));
    let looped = source_with(&world, "looped", |pin| pin.interfaces = vec![LOOPED]);
    let either = source_with(&world, "either", |pin| pin.interfaces = vec![LOOPED, KsIdentifier::STANDARD_STREAMING]);
    let refused = build(&world, "looped ! sink").err().unwrap();
    assert!(refused.contains("looped.0") && refused.contains("sink.0"), "{refused}");
    // The graph itself carries sound between a looped pin and another, and nothing else.
    assert!(refused.contains("no interface in common") && refused.contains("NV12"), "{refused}");
    let built = build(&world, "either ! sink").unwrap();
    assert_eq!(built.describe().len(), 1, "the one that both have is taken, though another is listed first");
    drop(built);
    looped.surprise_remove();
    either.surprise_remove();
}

#[test]
fn a_client_finds_pins_by_category_and_connects_them() {
    let world = world(Services::virtual_time(1));
    let client = Client::new(world.session.clone());
    // The filters of a category, and among their pins the one of the kind that is looked for.
    let filters: Vec<_> = client.interfaces(Some(KSCATEGORY_CAPTURE));
    assert_eq!(filters.iter().map(|one| one.reference.as_str()).collect::<Vec<_>>(), ["source", "middle", "sink"]);
    assert!(client.interfaces(Some(KSCATEGORY_AUDIO)).is_empty());
    let mut found = Vec::new();
    for interface in &filters {
        let filter = client.open(&interface.symbolic_link).unwrap();
        for factory in filter.pins().unwrap() {
            if factory.category == Some(PINNAME_VIDEO_CAPTURE) {
                found.push(format!("{}.{}", interface.reference, factory.id));
            }
        }
    }
    assert_eq!(found, ["source.0"]);
    assert!(build(&world, &format!("{} ! sink", found[0].trim_end_matches(".0"))).is_ok());
}

#[test]
fn names_and_categories_are_registered_while_the_device_is_there() {
    let bench = bench();
    let of = |category| bench.session.interfaces(Some(category));
    for category in [KSCATEGORY_CAPTURE, KSCATEGORY_VIDEO] {
        let names = of(category);
        assert_eq!(names.len(), 1, "one name in each category");
        let opened = bench.session.open(&names[0].symbolic_link, both_accesses());
        assert_eq!(bench.session.close(opened.unwrap()).status, STATUS_SUCCESS);
        assert!(names[0].symbolic_link.to_uppercase().contains(&category.to_string().to_uppercase()));
    }
    let (first, second) = (&of(KSCATEGORY_CAPTURE)[0], &of(KSCATEGORY_VIDEO)[0]);
    assert_eq!((&first.device, &first.reference), (&second.device, &second.reference), "two names of one filter");
    let link = first.symbolic_link.clone();
    bench.device.surprise_remove();
    assert!(of(KSCATEGORY_CAPTURE).is_empty() && of(KSCATEGORY_VIDEO).is_empty());
    let gone = bench.session.open(&link, both_accesses()).unwrap_err();
    assert_eq!(gone.status, STATUS_OBJECT_NAME_NOT_FOUND);
}

#[test]
fn a_validated_connect_gives_the_pin_its_parameters_and_its_filter() {
    let bench = bench();
    let mut create = pin_create(OUT);
    create.connect.priority = KsPriority { priority_sub_class: 7, ..KsPriority::NORMAL };
    let handle = bench.create(&create).unwrap();
    let pin = bench.engine_pin(handle);
    assert!(Arc::ptr_eq(pin.filter(), &bench.engine_filter(bench.filter)), "the file object that it was created below");
    assert_eq!((pin.id(), pin.format().bytes()), (OUT, create.format.as_slice()));
    let request = specimen::property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_PRIORITY, KSPROPERTY_TYPE_GET);
    let priority: KsPriority = bench.value(handle, zerocopy::IntoBytes::as_bytes(&request));
    assert_eq!(priority, create.connect.priority, "what KSPIN_CONNECT said");
    let file = bench.session.file_object(handle).unwrap();
    let parent = file.related().unwrap();
    assert!(Arc::ptr_eq(parent, &bench.session.file_object(bench.filter).unwrap()));
}
