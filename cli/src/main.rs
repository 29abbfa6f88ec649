//! The `spark` binary. Everything is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    spark_cli::main()
}
