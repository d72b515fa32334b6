// RUN: comm-opt %s --split-input-file --comm-mask-padding | FileCheck %s
// RUN: comm-opt %s --split-input-file --comm-mask-padding=any-fill=true | FileCheck %s --check-prefix=ANY

// Rows are independent: nothing is masked, nothing asks for the size. The sibling vanishes.
// CHECK-LABEL: func.func @rows
// CHECK-SAME:    (%[[X:.*]]: tensor<1x8x4xf32> {comm.name = "x", comm.pad = array<i64: 1, 0, 0>}, %{{.*}}: tensor<4xf32>
// CHECK-SAME:    -> (tensor<1x8x4xf32> {comm.name = "y", comm.pad = array<i64: 1, 0, 0>})
// CHECK-SAME:    comm.pads = [{input = -1 : i64, least = 3 : i64, name = "s", size = 8 : i64}]
// CHECK-NEXT:    comm.rms_norm %[[X]]
// CHECK-NEXT:    return
// CHECK-NOT:   func.func
func.func @rows(%x: tensor<1x8x4xf32> {comm.name = "x"}, %w: tensor<4xf32> {comm.name = "w"}) -> (tensor<1x8x4xf32> {comm.name = "y"})
    attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %y = comm.rms_norm %x, %w epsilon 1.0e-5 : tensor<1x8x4xf32>, tensor<4xf32>
  return %y : tensor<1x8x4xf32>
}
func.func @rows_3(%x: tensor<1x3x4xf32>, %w: tensor<4xf32>) -> tensor<1x3x4xf32>
    attributes {comm.sibling = @rows, comm.sibling_size = {s = 3 : i64}} {
  %y = comm.rms_norm %x, %w epsilon 1.0e-5 : tensor<1x3x4xf32>, tensor<4xf32>
  return %y : tensor<1x3x4xf32>
}
func.func @rows_7(%x: tensor<1x7x4xf32>, %w: tensor<4xf32>) -> tensor<1x7x4xf32>
    attributes {comm.sibling = @rows, comm.sibling_size = {s = 7 : i64}} {
  %y = comm.rms_norm %x, %w epsilon 1.0e-5 : tensor<1x7x4xf32>, tensor<4xf32>
  return %y : tensor<1x7x4xf32>
}

// -----

// A mean: the exponentials of the fill are not zero, so they are masked before the sum, and the count is that of the call.
// CHECK-LABEL: func.func @mean
// CHECK-SAME:    %[[N:[a-z0-9]+]]: tensor<1xi64> {comm.name = "#s"})
// CHECK-SAME:    comm.pads = [{input = 1 : i64
// CHECK-DAG:     %[[SIZE:.*]] = tensor.collapse_shape %[[N]]
// CHECK-DAG:     %[[COUNT:.*]] = arith.sitofp %[[SIZE]] : tensor<i64> to tensor<f32>
// CHECK-DAG:     %[[EXP:.*]] = math.exp
// CHECK:         %[[MASKED:.*]] = arith.select %{{.*}}, %[[EXP]], %{{.*}} : tensor<8x4xi1>, tensor<8x4xf32>
// CHECK:         linalg.reduce { arith.addf } ins(%[[MASKED]] :
// CHECK:         arith.divf
func.func @mean(%x: tensor<8x4xf32> {comm.name = "x"}) -> (tensor<4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %e = math.exp %x : tensor<8x4xf32>
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %sum = linalg.reduce { arith.addf } ins(%e : tensor<8x4xf32>) outs(%zero : tensor<4xf32>) dimensions = [0]
  %count = arith.constant dense<8.0> : tensor<4xf32>
  %y = arith.divf %sum, %count : tensor<4xf32>
  return %y : tensor<4xf32>
}
func.func @mean_7(%x: tensor<7x4xf32>) -> tensor<4xf32> attributes {comm.sibling = @mean, comm.sibling_size = {s = 7 : i64}} {
  %e = math.exp %x : tensor<7x4xf32>
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %sum = linalg.reduce { arith.addf } ins(%e : tensor<7x4xf32>) outs(%zero : tensor<4xf32>) dimensions = [0]
  %count = arith.constant dense<7.0> : tensor<4xf32>
  %y = arith.divf %sum, %count : tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// The fill of the input itself is zero: a sum over it needs no mask. It needs one where the fill may be anything.
// CHECK-LABEL: func.func @sum_of_input
// CHECK-NOT:     arith.select
// CHECK:         return
// ANY-LABEL: func.func @sum_of_input
// ANY:         %[[MASKED:.*]] = arith.select %{{.*}}, %{{.*}}, %{{.*}} : tensor<8x4xi1>, tensor<8x4xf32>
// ANY:         linalg.reduce { arith.addf } ins(%[[MASKED]] :
func.func @sum_of_input(%x: tensor<8x4xf32> {comm.name = "x"}) -> (tensor<4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %sum = linalg.reduce { arith.addf } ins(%x : tensor<8x4xf32>) outs(%zero : tensor<4xf32>) dimensions = [0]
  return %sum : tensor<4xf32>
}
func.func @sum_of_input_7(%x: tensor<7x4xf32>) -> tensor<4xf32> attributes {comm.sibling = @sum_of_input, comm.sibling_size = {s = 7 : i64}} {
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %sum = linalg.reduce { arith.addf } ins(%x : tensor<7x4xf32>) outs(%zero : tensor<4xf32>) dimensions = [0]
  return %sum : tensor<4xf32>
}

// -----

// Attention gets the number of keys that are there.
// CHECK-LABEL: func.func @attention
// CHECK:         comm.attention %{{.*}} lengths %{{.*}} : tensor<2xi64>
func.func @attention(%x: tensor<2x1x8x4xf32> {comm.name = "x"}) -> (tensor<2x1x8x4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %y = comm.attention %x, %x, %x scale 5.0e-1 : tensor<2x1x8x4xf32>, tensor<2x1x8x4xf32>, tensor<2x1x8x4xf32> -> tensor<2x1x8x4xf32>
  return %y : tensor<2x1x8x4xf32>
}
func.func @attention_7(%x: tensor<2x1x7x4xf32>) -> tensor<2x1x7x4xf32> attributes {comm.sibling = @attention, comm.sibling_size = {s = 7 : i64}} {
  %y = comm.attention %x, %x, %x scale 5.0e-1 : tensor<2x1x7x4xf32>, tensor<2x1x7x4xf32>, tensor<2x1x7x4xf32> -> tensor<2x1x7x4xf32>
  return %y : tensor<2x1x7x4xf32>
}

// -----

// Causal attention hides what lies on the right already.
// CHECK-LABEL: func.func @causal
// CHECK-NOT:     lengths
// CHECK:         comm.attention %{{.*}} causal 0
func.func @causal(%x: tensor<1x1x8x4xf32> {comm.name = "x"}) -> (tensor<1x1x8x4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %y = comm.attention %x, %x, %x scale 5.0e-1 causal 0 : tensor<1x1x8x4xf32>, tensor<1x1x8x4xf32>, tensor<1x1x8x4xf32> -> tensor<1x1x8x4xf32>
  return %y : tensor<1x1x8x4xf32>
}
func.func @causal_7(%x: tensor<1x1x7x4xf32>) -> tensor<1x1x7x4xf32> attributes {comm.sibling = @causal, comm.sibling_size = {s = 7 : i64}} {
  %y = comm.attention %x, %x, %x scale 5.0e-1 causal 0 : tensor<1x1x7x4xf32>, tensor<1x1x7x4xf32>, tensor<1x1x7x4xf32> -> tensor<1x1x7x4xf32>
  return %y : tensor<1x1x7x4xf32>
}

// -----

// A softmax over fill gets -inf there, and then gives zeros: the sum behind it needs no mask where the values are finite.
// CHECK-LABEL: func.func @scores
// CHECK:         %[[MASKED:.*]] = arith.select %{{.*}}, %{{.*}}, %{{.*}} : tensor<8x8xi1>, tensor<8x8xf32>
// CHECK-NEXT:    %[[P:.*]] = comm.softmax %[[MASKED]]
// CHECK-NEXT:    comm.matmul %[[P]]
func.func @scores(%x: tensor<8x4xf32> {comm.name = "x"}) -> (tensor<8x4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %s = comm.matmul %x, %x transposed : tensor<8x4xf32>, tensor<8x4xf32> -> tensor<8x8xf32>
  %p = comm.softmax %s : tensor<8x8xf32>
  %y = comm.matmul %p, %x : tensor<8x8xf32>, tensor<8x4xf32> -> tensor<8x4xf32>
  return %y : tensor<8x4xf32>
}
func.func @scores_7(%x: tensor<7x4xf32>) -> tensor<7x4xf32> attributes {comm.sibling = @scores, comm.sibling_size = {s = 7 : i64}} {
  %s = comm.matmul %x, %x transposed : tensor<7x4xf32>, tensor<7x4xf32> -> tensor<7x7xf32>
  %p = comm.softmax %s : tensor<7x7xf32>
  %y = comm.matmul %p, %x : tensor<7x7xf32>, tensor<7x4xf32> -> tensor<7x4xf32>
  return %y : tensor<7x4xf32>
}

// -----

// The first token is there at every size.
// CHECK-LABEL: func.func @first
// CHECK-SAME:    comm.pads
func.func @first(%x: tensor<8x4xf32> {comm.name = "x"}) -> (tensor<1x4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %y = tensor.extract_slice %x[0, 0] [1, 4] [1, 1] : tensor<8x4xf32> to tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}
func.func @first_7(%x: tensor<7x4xf32>) -> tensor<1x4xf32> attributes {comm.sibling = @first, comm.sibling_size = {s = 7 : i64}} {
  %y = tensor.extract_slice %x[0, 0] [1, 4] [1, 1] : tensor<7x4xf32> to tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}

// -----

// The last token lies elsewhere at every size.
// CHECK-LABEL: func.func @last
// CHECK-SAME:    comm.exact = {s = "'tensor.extract_slice' has another 'static_offsets' at s=7"}
// CHECK-NOT:     comm.pads
func.func @last(%x: tensor<8x4xf32> {comm.name = "x"}) -> (tensor<1x4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %y = tensor.extract_slice %x[7, 0] [1, 4] [1, 1] : tensor<8x4xf32> to tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}
func.func @last_7(%x: tensor<7x4xf32>) -> tensor<1x4xf32> attributes {comm.sibling = @last, comm.sibling_size = {s = 7 : i64}} {
  %y = tensor.extract_slice %x[6, 0] [1, 4] [1, 1] : tensor<7x4xf32> to tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}

// -----

// Token 4 is not there at size 3: the entry takes sizes from 7 on.
// CHECK-LABEL: func.func @fifth
// CHECK-SAME:    least = 7
func.func @fifth(%x: tensor<8x4xf32> {comm.name = "x"}) -> (tensor<1x4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %y = tensor.extract_slice %x[4, 0] [1, 4] [1, 1] : tensor<8x4xf32> to tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}
func.func @fifth_3(%x: tensor<3x4xf32>) -> tensor<1x4xf32> attributes {comm.sibling = @fifth, comm.sibling_size = {s = 3 : i64}} {
  %y = tensor.extract_slice %x[2, 0] [1, 4] [1, 1] : tensor<3x4xf32> to tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}
func.func @fifth_7(%x: tensor<7x4xf32>) -> tensor<1x4xf32> attributes {comm.sibling = @fifth, comm.sibling_size = {s = 7 : i64}} {
  %y = tensor.extract_slice %x[4, 0] [1, 4] [1, 1] : tensor<7x4xf32> to tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}

// -----

// A norm over the dimension that holds fill.
// CHECK-LABEL: func.func @norm
// CHECK-SAME:    comm.exact = {s = "'comm.softmax' takes a dimension together that is joined from several"}
func.func @norm(%x: tensor<2x8xf32> {comm.name = "x"}) -> (tensor<16xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %f = tensor.collapse_shape %x [[0, 1]] : tensor<2x8xf32> into tensor<16xf32>
  %y = comm.softmax %f : tensor<16xf32>
  return %y : tensor<16xf32>
}
func.func @norm_7(%x: tensor<2x7xf32>) -> tensor<14xf32> attributes {comm.sibling = @norm, comm.sibling_size = {s = 7 : i64}} {
  %f = tensor.collapse_shape %x [[0, 1]] : tensor<2x7xf32> into tensor<14xf32>
  %y = comm.softmax %f : tensor<14xf32>
  return %y : tensor<14xf32>
}

// -----

// Something behind the fill; a reshape that cuts rows anew; another operation; a table that is no beginning.
// CHECK-LABEL: func.func @behind
// CHECK-SAME:    comm.exact = {s = "'tensor.concat' puts something behind a dimension with fill"}
func.func @behind(%x: tensor<8xf32> {comm.name = "x"}) -> (tensor<10xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %c = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %y = tensor.concat dim(0) %x, %c : (tensor<8xf32>, tensor<2xf32>) -> tensor<10xf32>
  return %y : tensor<10xf32>
}
func.func @behind_7(%x: tensor<7xf32>) -> tensor<9xf32> attributes {comm.sibling = @behind, comm.sibling_size = {s = 7 : i64}} {
  %c = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %y = tensor.concat dim(0) %x, %c : (tensor<7xf32>, tensor<2xf32>) -> tensor<9xf32>
  return %y : tensor<9xf32>
}

// -----

// In front of it is as well as a longer dimension.
// CHECK-LABEL: func.func @in_front
// CHECK-SAME:    comm.pad = array<i64: 0, 0, 2>
func.func @in_front(%x: tensor<8xf32> {comm.name = "x"}) -> (tensor<10xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %c = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %y = tensor.concat dim(0) %c, %x : (tensor<2xf32>, tensor<8xf32>) -> tensor<10xf32>
  return %y : tensor<10xf32>
}
func.func @in_front_7(%x: tensor<7xf32>) -> tensor<9xf32> attributes {comm.sibling = @in_front, comm.sibling_size = {s = 7 : i64}} {
  %c = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %y = tensor.concat dim(0) %c, %x : (tensor<2xf32>, tensor<7xf32>) -> tensor<9xf32>
  return %y : tensor<9xf32>
}

// -----

// CHECK-LABEL: func.func @rows_anew
// CHECK-SAME:    comm.exact = {s = "{{.*}} cuts a dimension with 's' into other rows"}
func.func @rows_anew(%x: tensor<8x2xf32> {comm.name = "x"}) -> (tensor<2x8xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %f = tensor.collapse_shape %x [[0, 1]] : tensor<8x2xf32> into tensor<16xf32>
  %y = tensor.expand_shape %f [[0, 1]] output_shape [2, 8] : tensor<16xf32> into tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}
func.func @rows_anew_7(%x: tensor<7x2xf32>) -> tensor<2x7xf32> attributes {comm.sibling = @rows_anew, comm.sibling_size = {s = 7 : i64}} {
  %f = tensor.collapse_shape %x [[0, 1]] : tensor<7x2xf32> into tensor<14xf32>
  %y = tensor.expand_shape %f [[0, 1]] output_shape [2, 7] : tensor<14xf32> into tensor<2x7xf32>
  return %y : tensor<2x7xf32>
}

// -----

// CHECK-LABEL: func.func @other_operation
// CHECK-SAME:    comm.exact = {s = "'math.exp' is another operation, math.tanh at s=7"}
func.func @other_operation(%x: tensor<8xf32> {comm.name = "x"}) -> (tensor<8xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %y = math.exp %x : tensor<8xf32>
  return %y : tensor<8xf32>
}
func.func @other_operation_7(%x: tensor<7xf32>) -> tensor<7xf32> attributes {comm.sibling = @other_operation, comm.sibling_size = {s = 7 : i64}} {
  %y = math.tanh %x : tensor<7xf32>
  return %y : tensor<7xf32>
}

// -----

// CHECK-LABEL: func.func @table
// CHECK-SAME:    comm.exact = {s = "the constant of 'arith.constant' at s=3 is not the beginning of the larger one"}
func.func @table(%x: tensor<4xf32> {comm.name = "x"}) -> (tensor<4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 4 : i64}} {
  %c = arith.constant dense<[3.0, 2.0, 1.0, 0.0]> : tensor<4xf32>
  %y = arith.mulf %x, %c : tensor<4xf32>
  return %y : tensor<4xf32>
}
func.func @table_3(%x: tensor<3xf32>) -> tensor<3xf32> attributes {comm.sibling = @table, comm.sibling_size = {s = 3 : i64}} {
  %c = arith.constant dense<[2.0, 1.0, 0.0]> : tensor<3xf32>
  %y = arith.mulf %x, %c : tensor<3xf32>
  return %y : tensor<3xf32>
}

// -----

// An index that counts from the end counts from the end of what is there, and the fill of indices leads to the first row.
// CHECK-LABEL: func.func @lookup
// CHECK:         arith.cmpi slt, %{{.*}}, %{{.*}} : tensor<1xi64>
// CHECK:         %[[WRAPPED:.*]] = arith.select
// CHECK:         comm.gather %{{.*}}, %[[WRAPPED]] axis 0
func.func @lookup(%x: tensor<8x4xf32> {comm.name = "x"}, %i: tensor<1xi64> {comm.name = "i"}) -> (tensor<1x4xf32> {comm.name = "y"}) attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %y = comm.gather %x, %i axis 0 : tensor<8x4xf32>, tensor<1xi64> -> tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}
func.func @lookup_7(%x: tensor<7x4xf32>, %i: tensor<1xi64>) -> tensor<1x4xf32> attributes {comm.sibling = @lookup, comm.sibling_size = {s = 7 : i64}} {
  %y = comm.gather %x, %i axis 0 : tensor<7x4xf32>, tensor<1xi64> -> tensor<1x4xf32>
  return %y : tensor<1x4xf32>
}

// -----

// A bias over joined rows: it is the same in all of them, so how they are made does not matter.
// CHECK-LABEL: func.func @joined_rows
// CHECK-SAME:    comm.pads = [{input = -1 : i64
func.func @joined_rows(%x: tensor<2x8x4xf32> {comm.name = "x"}, %b: tensor<4xf32> {comm.name = "b"}) -> (tensor<2x8x4xf32> {comm.name = "y"})
    attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %f = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x8x4xf32> into tensor<16x4xf32>
  %e = tensor.empty() : tensor<16x4xf32>
  %c = linalg.broadcast ins(%b : tensor<4xf32>) outs(%e : tensor<16x4xf32>) dimensions = [0]
  %g = arith.addf %f, %c : tensor<16x4xf32>
  %y = tensor.expand_shape %g [[0, 1], [2]] output_shape [2, 8, 4] : tensor<16x4xf32> into tensor<2x8x4xf32>
  return %y : tensor<2x8x4xf32>
}
func.func @joined_rows_7(%x: tensor<2x7x4xf32>, %b: tensor<4xf32>) -> tensor<2x7x4xf32> attributes {comm.sibling = @joined_rows, comm.sibling_size = {s = 7 : i64}} {
  %f = tensor.collapse_shape %x [[0, 1], [2]] : tensor<2x7x4xf32> into tensor<14x4xf32>
  %e = tensor.empty() : tensor<14x4xf32>
  %c = linalg.broadcast ins(%b : tensor<4xf32>) outs(%e : tensor<14x4xf32>) dimensions = [0]
  %g = arith.addf %f, %c : tensor<14x4xf32>
  %y = tensor.expand_shape %g [[0, 1], [2]] output_shape [2, 7, 4] : tensor<14x4xf32> into tensor<2x7x4xf32>
  return %y : tensor<2x7x4xf32>
}

// -----

// A sum over copies of which there are other numbers.
// CHECK-LABEL: func.func @sum_of_copies
// CHECK-SAME:    comm.exact = {s = "'linalg.reduce' works across a dimension whose make is not known"}
func.func @sum_of_copies(%x: tensor<8x2xf32> {comm.name = "x"}, %b: tensor<4xf32> {comm.name = "b"}) -> (tensor<4xf32> {comm.name = "y"})
    attributes {comm.entry, comm.sizes = {s = 8 : i64}} {
  %e = tensor.empty() : tensor<16x4xf32>
  %c = linalg.broadcast ins(%b : tensor<4xf32>) outs(%e : tensor<16x4xf32>) dimensions = [0]
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %y = linalg.reduce { arith.addf } ins(%c : tensor<16x4xf32>) outs(%zero : tensor<4xf32>) dimensions = [0]
  return %y : tensor<4xf32>
}
func.func @sum_of_copies_7(%x: tensor<7x2xf32>, %b: tensor<4xf32>) -> tensor<4xf32> attributes {comm.sibling = @sum_of_copies, comm.sibling_size = {s = 7 : i64}} {
  %e = tensor.empty() : tensor<14x4xf32>
  %c = linalg.broadcast ins(%b : tensor<4xf32>) outs(%e : tensor<14x4xf32>) dimensions = [0]
  %zero = arith.constant dense<0.0> : tensor<4xf32>
  %y = linalg.reduce { arith.addf } ins(%c : tensor<14x4xf32>) outs(%zero : tensor<4xf32>) dimensions = [0]
  return %y : tensor<4xf32>
}
