//! Makes `cfg(Py_GIL_DISABLED)` known, which `gil.rs` refuses to be built under.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
