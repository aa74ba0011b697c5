;; Counts its calls in a global and in memory, and rejects with the two counts.
(module
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (global $calls (mut i32) (i32.const 48))
  (data (i32.const 16) "\02\00\00\00\00\00\00\00\40\00\00\00\02\00\00\00")
  (data (i32.const 64) "00")
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.store8 (i32.const 64) (global.get $calls))
    (i32.store8 (i32.const 65) (i32.add (i32.load8_u (i32.const 65)) (i32.const 1)))
    (i32.const 16))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
