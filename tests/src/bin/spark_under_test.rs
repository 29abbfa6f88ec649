//! The binary that the end-to-end tests start: the same code as `spark`, built together with the tests.

fn main() -> std::process::ExitCode {
    spark_cli::main()
}
