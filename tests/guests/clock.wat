;; Asks to be tried again after as many milliseconds as the clock shows.
(module
  (import "tidegate:destination/clock@0.1.0" "now" (func $now (result i64)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (data (i32.const 16) "\03")
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (i32.store8 (i32.const 32) (i32.const 1))
    (i64.store (i32.const 40) (call $now))
    (i32.const 16))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
