;; Calls the host while the host asks it for memory.
(module
  (import "tidegate:destination/clock@0.1.0" "now" (func $now (result i64)))
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (drop (call $now)) (i32.const 4096))
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (i32.const 0))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
