;; Makes resources of its own and drops none.
(module
  (import "[export]things" "[resource-new]thing" (func $new (param i32) (result i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  ;; A bump allocator that never frees: the instance lives for one call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))
  (func (export "things#[dtor]thing") (param i32))
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (loop $again (drop (call $new (i32.const 1))) (br $again))
    (unreachable))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
