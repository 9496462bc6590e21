//! Several configurations of one `vm_id`: at a reload, and beside each other.

use super::world::{Gateway, World, finish, is_in, newcomer, with_cap, with_fleet};

/// Loads another configuration on all workers, and lets its listener serve.
fn reload(world: &World, gateway: &Gateway, configuration: &str) {
    for running in &gateway.workers {
        assert!(running.worker.configure(configuration));
    }
    let stream = newcomer(gateway.worker(0));
    world.run(&[gateway], 1_500);
    stream.close();
}

#[test]
fn the_share_goes_on_through_a_reload_and_the_new_cap_holds() {
    let world = World::new();
    let gateway = world.gateway(&with_cap(100), 2);
    let own = world.shares()[0].gateway;
    world.open(&gateway, 0, "s");
    reload(&world, &gateway, &with_cap(20));
    let shares = world.shares();
    assert_eq!((shares.len(), shares[0].gateway, shares[0].cap), (1, own, 20));
    assert_eq!(gateway.fleet("limit"), 20);
    for running in &gateway.workers {
        running.worker.remove_oldest_root();
    }
    world.run(&[&gateway], 3_000);
    assert_eq!(world.shares()[0].gateway, own);
    let streams: Vec<_> = (0..30).map(|_| newcomer(gateway.worker(1))).collect();
    world.run(&[&gateway], 1_500);
    assert_eq!(finish(streams, "t"), 19);
    assert_eq!((gateway.logged("fleet_lost"), gateway.fleet("failed")), (0, 0));
}

#[test]
fn another_name_is_another_fleet() {
    let world = World::new();
    let gateway = world.gateway(&with_cap(100), 2);
    world.open(&gateway, 0, "s");
    let own = world.shares()[0].gateway;
    reload(
        &world,
        &gateway,
        &with_cap(50).replace(r#""name": "f""#, r#""name": "g""#),
    );
    world.run(&[&gateway], 10_000);
    let shares = world.shares();
    assert_eq!((shares.len(), shares[0].cap), (1, 50));
    assert_ne!(shares[0].gateway, own);
    assert!(is_in(&newcomer(gateway.worker(0))));
}

#[test]
fn the_newest_configuration_that_serves_and_writes_a_fleet_decides() {
    let world = World::new();
    let gateway = world.gateway(&with_cap(100), 2);
    world.open(&gateway, 0, "s");
    // One that is loaded and does not serve changes nothing; one without a fleet leaves it.
    assert!(gateway.worker(0).configure(&with_cap(7)));
    world.run(&[&gateway], 3_000);
    assert_eq!(gateway.fleet("limit"), 100);
    gateway.worker(0).remove_newest_root();
    reload(
        &world,
        &gateway,
        r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body"}]}"#,
    );
    world.run(&[&gateway], 3_000);
    assert_eq!((gateway.fleet("limit"), world.shares()[0].cap), (100, 100));
    reload(&world, &gateway, &with_cap(9));
    assert_eq!(gateway.fleet("limit"), 9);
    assert_eq!(gateway.logged("configurations_differ"), 1);
}

#[test]
fn a_gateway_whose_last_configuration_has_no_fleet_has_its_own_caps() {
    let world = World::new();
    let gateway = world.gateway(&with_fleet(1, r#", "lease": "3s""#, "", ""), 1);
    world.open(&gateway, 0, "s");
    let none = r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body"}]}"#;
    assert!(gateway.worker(0).configure(none));
    gateway.worker(0).remove_oldest_root();
    world.run(&[&gateway], 5_000);
    let streams: Vec<_> = (0..5).map(|_| newcomer(gateway.worker(0))).collect();
    assert_eq!(finish(streams, "t"), 5);
    assert_eq!(world.shares(), []);
    let shown = ["limit", "share", "used", "gateways", "lost"].map(|name| gateway.fleet(name));
    assert_eq!(shown, [0; 5]);
}

#[test]
fn where_gateways_write_different_caps_each_says_so_once() {
    let world = World::new();
    let (a, b) = (world.gateway(&with_cap(100), 2), Gateway::new(&with_cap(60), 2));
    world.run(&[&a, &b], 10_000);
    for gateway in [&a, &b] {
        assert_eq!(
            (gateway.fleet("limit"), gateway.logged("fleet_caps_differ")),
            (60, 1)
        );
    }
}
