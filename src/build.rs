//! Links infissi-ctl to a fixed address.
//!
//! A program that may be loaded anywhere has thousands of pointers put right at every start, a fifth of what `list`
//! takes. The long-lived infissi-supervisord, which listens, keeps its random address.

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    // musl's start files for the two kinds are not interchangeable.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        println!("cargo::rustc-link-arg-bin=infissi-ctl=-no-pie");
    }
}
