;; Wants to keep 64 KiB under one key, and rejects with what the host says to that.
(module
  (import "tidegate:destination/cache@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32 i64 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (data (i32.const 64) "n")
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (call $set (i32.const 64) (i32.const 1) (i32.const 16384) (i32.const 65536) (i32.const 0) (i64.const 0) (i32.const 48))
    (i32.store8 (i32.const 16) (i32.const 2))
    (i32.store (i32.const 24) (i32.load (i32.const 52)))
    (i32.store (i32.const 28) (i32.load (i32.const 56)))
    (i32.const 16))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
