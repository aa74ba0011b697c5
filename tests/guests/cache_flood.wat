;; Keeps values of 32 KiB under ever new keys, without end.
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
  (func (export "tidegate:destination/handler@0.1.0#handle-event") (param i32) (result i32)
    (loop $more
      ;; Two characters of a counter that goes up.
      (i32.store8 (i32.const 64) (i32.add (i32.const 48) (i32.and (global.get $free) (i32.const 63))))
      (i32.store8 (i32.const 65) (i32.add (i32.const 48) (i32.and (i32.shr_u (global.get $free) (i32.const 6)) (i32.const 63))))
      (global.set $free (i32.add (global.get $free) (i32.const 1)))
      (call $set (i32.const 64) (i32.const 2) (i32.const 16384) (i32.const 32768) (i32.const 1) (i64.const -1) (i32.const 48))
      (br $more))
    (i32.const 0))
  (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
