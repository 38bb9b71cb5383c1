//! Writes the sources of another language, as `make bindings` asks it to. The generator must be of the very version of the library's
//! scaffolding, so it is built with it.

fn main() {
    uniffi::uniffi_bindgen_main();
}
