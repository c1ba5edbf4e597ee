//! Compiles the thin C that speaks to the peers, where they were asked for.

fn main() {
    println!("cargo::rerun-if-changed=src/peers/peers.c");
    #[cfg(feature = "peers")]
    {
        cc::Build::new().file("src/peers/peers.c").opt_level(2).compile("strongroom_peers");
        println!("cargo::rustc-link-lib=IPSec_MB");
        println!("cargo::rustc-link-lib=crypto");
    }
}
