;; Asks for a terabyte of randomness.
(module
  (import "wasi:random/random@0.2.0" "get-random-bytes" (func $bytes (param i64 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 8192))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (call $bytes (i64.const 0x10000000000) (i32.const 256))
    (i32.const 0))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
